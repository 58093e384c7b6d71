/* SPDX-License-Identifier: Apache-2.0 */
/* ipcsys._stepper: a process that steps itself through a call, one
 * instruction at a time, and kills itself at the k-th.
 *
 * The trap flag of EFLAGS makes the CPU raise SIGTRAP after each instruction;
 * the handler here counts.  Counted are the instructions of the watched text
 * (the core's) and of whatever it calls: from the first instruction inside
 * the text until the stack rises above the frame that entered it.
 *
 * Two kinds of instruction are events: stores to shared mappings (which are
 * kept write-protected, so that each store faults) and system calls (which
 * the kernel turns into SIGSYS).  Between two events a death looks the same to
 * everybody else, so dying before each event is as good as dying at every
 * instruction.  Leaping runs at full speed between events and steps only over
 * the event itself.
 *
 * What stepping would break, and what the handler does about it:
 *   SIGTRAP blocked   a trap would be fatal: a mask about to be set is
 *                     replaced by a copy without it and the other two
 *   fork, clone       the child would go on stepping: it clears its flag
 *   rep movs / stos   one trap for each element: done here, halving the rest
 *   mmap, munmap      the set of protected mappings follows them
 *   system calls      must not meet protected pages: they are opened first
 *
 * x86-64 Linux only.  It is an instrument of the tests, no part of _core. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#if defined(__x86_64__) && defined(__linux__)

#include <signal.h>
#include <sys/prctl.h>
#include <ucontext.h>

#include "bind/stepper_marks.h"
#include "bind/stepper_witness.h"

#ifndef PR_SET_SYSCALL_USER_DISPATCH /* headers before 5.11 */
#define PR_SET_SYSCALL_USER_DISPATCH 59
#define PR_SYS_DISPATCH_OFF 0
#define PR_SYS_DISPATCH_ON 1
#define SYSCALL_DISPATCH_FILTER_ALLOW 0
#define SYSCALL_DISPATCH_FILTER_BLOCK 1
#endif

#define TRAP_FLAG 0x100
#define DIRECTION_FLAG 0x400
#define MAX_TEXT 8
#define MAX_SHARED 8192
#define MAX_OPEN 64

static struct {
    volatile bool active;
    bool inside;
    uintptr_t entry_sp;
    uint64_t steps, stop; /* instructions, or events while leaping */
    bool leaping;
    volatile char selector; /* of the kernel's system call dispatch */
    long thread;
    uintptr_t thread_pointer;
    span text[MAX_TEXT];
    int texts;
    bool tracing;
    span shared[MAX_SHARED];
    int shareds;
    uintptr_t open[MAX_OPEN]; /* pages writable until the next trap */
    int opens;
    marks events;  /* the counted instructions that were one */
    marks lists;   /* those that changed the robust list and were none */
    marks unseen;  /* events that found shared bytes changed since the last */
    uint64_t all;  /* events, counted instructions or not */
    bool eventful; /* the instruction about to be executed is an event */
    long call; /* number of the system call just stepped over, or -1 */
    uint64_t call_flags;
    uint64_t call_length;
    uint64_t mask; /* the copy that replaces a signal mask */
    greg_t mask_pointer;
    struct sigaction old_trap, old_fault, old_call;
} self;

static uintptr_t
thread_pointer(void)
{
    uintptr_t pointer;
    __asm__("mov %%fs:0, %0" : "=r"(pointer));
    return pointer;
}

/* While stepping: an event comes.  What others see must be as the last one left it. */
static void
note(void)
{
    self.all++;
    if (witness.on && !self.eventful && witness_differs()) {
        mark(&self.unseen, self.steps);
    }
    self.eventful = true;
    if (self.inside) {
        mark(&self.events, self.steps);
    }
}

/* --- protected mappings ------------------------------------------------- */

static void
protect(const span *at, int protection)
{
    (void)mprotect((void *)at->first, at->last - at->first, protection);
}

static void
protect_all(int protection)
{
    for (int i = 0; i < self.shareds; i++) {
        protect(&self.shared[i], protection);
    }
    self.opens = 0;
}

/* The kernel's part of a death comes too: it must find the mappings as they
 * are in a process that nobody watches, or it cannot ring the bell. */
static void
count(void)
{
    self.steps++;
    if (self.steps == self.stop) {
        protect_all(PROT_READ | PROT_WRITE);
        (void)syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
    }
}

static void
open_page(uintptr_t page)
{
    if (self.opens < MAX_OPEN) {
        self.open[self.opens++] = page;
        (void)mprotect((void *)page, PAGE, PROT_READ | PROT_WRITE);
    }
    else {
        protect_all(PROT_READ | PROT_WRITE);
        self.opens = MAX_OPEN + 1; /* all of them */
    }
}

static void
close_pages(void)
{
    if (self.opens > MAX_OPEN) {
        protect_all(PROT_READ);
    }
    for (int i = 0; i < self.opens; i++) {
        (void)mprotect((void *)self.open[i], PAGE, PROT_READ);
    }
    self.opens = 0;
}

static void
watch(uintptr_t first, uint64_t length)
{
    if (self.shareds < MAX_SHARED) {
        self.shared[self.shareds++] = (span){first, first + ((length + PAGE - 1) & -(uint64_t)PAGE)};
        protect(&self.shared[self.shareds - 1], PROT_READ);
    }
}

static void
forget(uintptr_t first, uint64_t length)
{
    for (int i = 0; i < self.shareds; i++) {
        if (self.shared[i].first >= first && self.shared[i].last <= first + length + PAGE - 1) {
            self.shared[i] = self.shared[--self.shareds];
            i--;
        }
    }
}

/* --- system calls ------------------------------------------------------- */

static void
before_call(greg_t *regs)
{
    self.call = (long)regs[REG_RAX];
    self.call_flags = (uint64_t)regs[REG_R10];
    self.call_length = (uint64_t)regs[REG_RSI];
    if (!self.leaping) {
        note();
    }
    if (self.tracing) {
        if (self.call == SYS_munmap) {
            forget((uintptr_t)regs[REG_RDI], self.call_length);
        }
        protect_all(PROT_READ | PROT_WRITE);
        self.opens = MAX_OPEN + 1;
    }
    if (self.call == SYS_rt_sigprocmask && regs[REG_RSI] != 0 && regs[REG_RDI] != SIG_UNBLOCK) {
        memcpy(&self.mask, (const void *)regs[REG_RSI], sizeof(self.mask));
        self.mask &= ~(UINT64_C(1) << (SIGTRAP - 1) | UINT64_C(1) << (SIGSEGV - 1)
                       | UINT64_C(1) << (SIGSYS - 1));
        self.mask_pointer = regs[REG_RSI];
        regs[REG_RSI] = (greg_t)(uintptr_t)&self.mask;
    }
}

/* The trap after a system call comes one instruction late (the kernel returns
 * with the flag set); that one is the compare in libc's wrapper. */
static void
after_call(greg_t *regs)
{
    if (self.call == SYS_rt_sigprocmask && regs[REG_RSI] == (greg_t)(uintptr_t)&self.mask) {
        regs[REG_RSI] = self.mask_pointer;
    }
    if (self.tracing && self.call == SYS_mmap && (self.call_flags & MAP_SHARED) != 0
        && (self.call_flags & MAP_ANONYMOUS) == 0 && (uint64_t)regs[REG_RAX] < UINT64_MAX - PAGE) {
        watch((uintptr_t)regs[REG_RAX], self.call_length);
    }
    self.call = -1;
}

static bool
is_child(void)
{
    bool cloned = self.call == SYS_clone || self.call == SYS_clone3 || self.call == SYS_fork
                  || self.call == SYS_vfork;
    return thread_pointer() != self.thread_pointer
           || (cloned && syscall(SYS_gettid) != self.thread);
}

/* --- string instructions ------------------------------------------------ */

/* Do half of what a `rep movs` or `rep stos` at the instruction pointer still
 * has to do, if there is one; the CPU then does one element and traps again. */
static bool
halve_string(greg_t *regs)
{
    const uint8_t *at = (const uint8_t *)regs[REG_RIP];
    size_t unit = 1;
    if (*at != 0xf3 || (regs[REG_EFL] & DIRECTION_FLAG) != 0) {
        return false;
    }
    at++;
    if (*at == 0x48) {
        unit = 8;
        at++;
    }
    uint8_t opcode = *at;
    if ((opcode & 0xfe) != 0xa4 && (opcode & 0xfe) != 0xaa) {
        return false;
    }
    if (self.tracing && in_spans(self.shared, self.shareds, (uintptr_t)regs[REG_RDI])) {
        protect_all(PROT_READ | PROT_WRITE);
        self.opens = MAX_OPEN + 1;
        if (self.leaping) {
            count();
        }
        else {
            note();
        }
    }
    unit = (opcode & 1) == 0 ? 1 : unit == 8 ? 8 : 4;
    size_t elements = (size_t)regs[REG_RCX] / 2, bytes = elements * unit;
    uint8_t *to = (uint8_t *)regs[REG_RDI];
    if ((opcode & 0xfe) == 0xa4) {
        const uint8_t *from = (const uint8_t *)regs[REG_RSI];
        for (size_t i = 0; i < bytes; i++) {
            ((volatile uint8_t *)to)[i] = from[i];
        }
        regs[REG_RSI] += (greg_t)bytes;
    }
    else {
        for (size_t i = 0; i < bytes; i++) {
            ((volatile uint8_t *)to)[i] = ((const uint8_t *)&regs[REG_RAX])[i % unit];
        }
    }
    regs[REG_RDI] += (greg_t)bytes;
    regs[REG_RCX] -= (greg_t)elements;
    return true;
}

/* The instruction before this trap has been executed. */
static void
look(void)
{
    if (self.eventful) {
        if (self.opens == 1 && witness_knows(self.open[0])) {
            witness_copy_again();
        }
        else {
            witness_copy(self.shared, self.shareds);
        }
        self.eventful = false;
    }
    else if (witness_digest() != witness.digest) {
        mark(&self.lists, self.steps);
        witness.digest = witness_digest();
    }
}

/* --- the handlers ------------------------------------------------------- */

static void
before_instruction(greg_t *regs)
{
    uintptr_t at = (uintptr_t)regs[REG_RIP], sp = (uintptr_t)regs[REG_RSP];
    bool in_text = in_spans(self.text, self.texts, at);
    if (!self.inside && in_text) {
        self.inside = true;
        self.entry_sp = sp;
    }
    else if (self.inside && sp > self.entry_sp) {
        self.inside = in_text;
        self.entry_sp = sp;
    }
    if (self.inside) {
        count();
    }
    const uint8_t *next = (const uint8_t *)at;
    if (next[0] == 0x0f && next[1] == 0x05) {
        before_call(regs);
    }
    else {
        (void)halve_string(regs);
    }
}

static void
on_trap(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)info;
    greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
    if (!self.active || is_child()) {
        regs[REG_EFL] &= ~(greg_t)TRAP_FLAG;
        return;
    }
    if (self.call >= 0) {
        after_call(regs);
    }
    if (witness.on) {
        look();
    }
    if (self.tracing) {
        close_pages();
    }
    if (!self.leaping) {
        before_instruction(regs);
    }
    else if (!halve_string(regs)) { /* the event is over: leap to the next */
        regs[REG_EFL] &= ~(greg_t)TRAP_FLAG;
        self.selector = SYSCALL_DISPATCH_FILTER_BLOCK;
    }
}

static void
on_fault(int signal, siginfo_t *info, void *context)
{
    greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
    uintptr_t at = (uintptr_t)info->si_addr;
    if (self.active && self.tracing && in_spans(self.shared, self.shareds, at)) {
        bool mine = thread_pointer() == self.thread_pointer;
        if (mine && self.leaping) {
            self.selector = SYSCALL_DISPATCH_FILTER_ALLOW;
            count();
            regs[REG_EFL] |= TRAP_FLAG;
        }
        else if (mine) {
            note();
        }
        open_page(at & -(uintptr_t)PAGE);
        return;
    }
    /* Not ours: whoever handled it before meets it again. */
    (void)sigaction(signal, &self.old_fault, NULL);
}

/* While leaping: the kernel gave this instead of making the system call.  Go
 * back to the instruction and step over it. */
static void
on_call(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
    self.selector = SYSCALL_DISPATCH_FILTER_ALLOW;
    count();
    regs[REG_RIP] = (greg_t)(uintptr_t)info->si_call_addr - 2;
    regs[REG_RAX] = info->si_syscall;
    before_call(regs);
    regs[REG_EFL] |= TRAP_FLAG;
}

/* --- one stepped call --------------------------------------------------- */

static inline void
flag_on(void)
{
    __asm__ __volatile__("lea -128(%%rsp), %%rsp\n\tpushfq\n\torq $0x100, (%%rsp)\n\tpopfq\n\t"
                         "lea 128(%%rsp), %%rsp" ::: "memory", "cc");
}

static inline void
flag_off(void)
{
    __asm__ __volatile__("lea -128(%%rsp), %%rsp\n\tpushfq\n\tandq $~0x100, (%%rsp)\n\tpopfq\n\t"
                         "lea 128(%%rsp), %%rsp" ::: "memory", "cc");
}

static void
install(void)
{
    struct sigaction action = {.sa_flags = SA_SIGINFO};
    action.sa_sigaction = on_trap;
    (void)sigaction(SIGTRAP, &action, &self.old_trap);
    action.sa_sigaction = on_fault;
    (void)sigaction(SIGSEGV, &action, &self.old_fault);
    action.sa_sigaction = on_call;
    (void)sigaction(SIGSYS, &action, &self.old_call);
}

/* Ask the kernel for SIGSYS at every system call but the return from our
 * handlers, whose address it knows. */
static int
dispatch(bool on)
{
    struct {
        void *handler;
        unsigned long flags;
        uintptr_t restorer;
        uint64_t mask;
    } raw;
    self.selector = SYSCALL_DISPATCH_FILTER_ALLOW;
    if (!on) {
        return prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_OFF, 0, 0, 0);
    }
    if (syscall(SYS_rt_sigaction, SIGTRAP, NULL, &raw, sizeof(raw.mask)) < 0) {
        return -1;
    }
    return prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, raw.restorer, 16,
                 &self.selector);
}

static void
uninstall(void)
{
    (void)sigaction(SIGTRAP, &self.old_trap, NULL);
    (void)sigaction(SIGSEGV, &self.old_fault, NULL);
    (void)sigaction(SIGSYS, &self.old_call, NULL);
}

static PyObject *
stepped(PyObject *callable, PyObject *args)
{
    self.inside = false;
    self.steps = 0;
    self.call = -1;
    self.opens = 0;
    self.events.count = self.lists.count = self.unseen.count = 0;
    self.all = 0;
    self.eventful = false;
    self.thread = syscall(SYS_gettid);
    self.thread_pointer = thread_pointer();
    install();
    if (self.leaping && dispatch(true) < 0) {
        uninstall();
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    self.active = true;
    if (self.tracing) {
        protect_all(PROT_READ);
    }
    PyObject *result;
    if (self.leaping) {
        self.selector = SYSCALL_DISPATCH_FILTER_BLOCK;
        result = PyObject_CallObject(callable, args);
        self.selector = SYSCALL_DISPATCH_FILTER_ALLOW;
        (void)dispatch(false);
    }
    else {
        flag_on();
        result = PyObject_CallObject(callable, args);
        flag_off();
    }
    self.active = false;
    if (witness.on && !self.eventful && witness_differs()) {
        mark(&self.unseen, self.steps + 1); /* after the last event */
    }
    if (self.tracing) {
        protect_all(PROT_READ | PROT_WRITE);
    }
    uninstall();
    return result;
}

PyDoc_STRVAR(step_doc,
"step(callable, args, text, shared=None, stop=0, witness=False)\n--\n\n"
"Call callable(*args) instruction by instruction; with text=None, from event\n"
"to event (Linux 5.11).\n\n"
"Returns (result, length, events, all, lists, unseen).  Stepping: `length` is\n"
"how many instructions ran inside the address ranges `text` or below them,\n"
"`events` are the numbers (from 1) of those that stored into the mappings\n"
"`shared` (None: not watched) or are system calls, and `all` is how many events\n"
"there were inside or not.  Leaping: `length` is how many events there were.\n"
"With `stop`, the process kills itself before that instruction or event.\n\n"
"With `witness`, `lists` are the numbers of the instructions that changed the\n"
"thread's robust list and were no event, and `unseen` those of the events that\n"
"found the shared bytes changed since the event before.");

/* What of the arguments goes into self; false with an exception. */
static bool
prepared(PyObject *text, PyObject *shared, bool looking)
{
    if (self.active || (text == Py_None && shared == Py_None)) {
        PyErr_SetString(PyExc_RuntimeError, self.active ? "a call is being stepped already"
                                                        : "neither text nor mappings to watch");
        return false;
    }
    self.leaping = text == Py_None;
    self.tracing = shared != Py_None;
    self.texts = self.leaping ? 0 : read_spans(text, self.text, MAX_TEXT);
    self.shareds = self.tracing ? read_spans(shared, self.shared, MAX_SHARED / 2) : 0;
    if (self.texts < 0 || self.shareds < 0) {
        return false;
    }
    witness.on = witness.overflow = false;
    if (looking && !witness_start(self.shared, self.shareds)) {
        PyErr_NoMemory();
        return false;
    }
    return true;
}

static PyObject *
stepper_step(PyObject *module, PyObject *args, PyObject *kwargs)
{
    (void)module;
    static char *names[] = {"callable", "args", "text", "shared", "stop", "witness", NULL};
    PyObject *callable, *arguments, *text, *shared = Py_None;
    unsigned long long stop = 0;
    int looking = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO!O|OKp:step", names, &callable,
                                     &PyTuple_Type, &arguments, &text, &shared, &stop, &looking)
        || !prepared(text, shared, looking)) {
        return NULL;
    }
    self.stop = stop;
    PyObject *result = stepped(callable, arguments);
    if (result == NULL) {
        return NULL;
    }
    if (witness.overflow) {
        Py_DECREF(result);
        PyErr_SetString(PyExc_MemoryError, "more shared memory than the witness compares");
        return NULL;
    }
    return Py_BuildValue("NKNKNN", result, (unsigned long long)self.steps, list_of(&self.events),
                         (unsigned long long)self.all, list_of(&self.lists),
                         list_of(&self.unseen));
}

static PyMethodDef functions[] = {
    {"step", (PyCFunction)(void (*)(void))stepper_step, METH_VARARGS | METH_KEYWORDS, step_doc},
    {NULL, NULL, 0, NULL},
};

#else

static PyMethodDef functions[] = {{NULL, NULL, 0, NULL}};

#endif

static int
stepper_exec(PyObject *module)
{
    (void)module;
#if defined(__x86_64__) && defined(__linux__)
    return 0;
#else
    PyErr_SetString(PyExc_ImportError,
                    "ipcsys._stepper steps by the x86-64 trap flag: it works on x86-64 Linux only");
    return -1;
#endif
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)stepper_exec},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "ipcsys._stepper",
    .m_doc = "Steps this process through a call and kills it at a chosen instruction.",
    .m_methods = functions,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__stepper(void)
{
    return PyModuleDef_Init(&definition);
}
