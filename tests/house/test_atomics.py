# SPDX-License-Identifier: Apache-2.0
"""Every atomic access says its order, and a comment says why or with whom."""

import re
import shlex
import subprocess
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from csource import CSRC, CFile, sources

ABOVE = 6  # how many lines above an access its comment may stand

# Forms that carry their order as an argument, or need none.
_OTHER = {"atomic_thread_fence", "atomic_signal_fence", "atomic_init", "atomic_is_lock_free"}
_SAID = re.compile(r"\bpairs?[\s*]+with\b|\brelaxed\b", re.IGNORECASE)
# A signal fence speaks to no other thread: it keeps a dying one's stores in order.
_UNORDERED = {"atomic_init", "atomic_is_lock_free", "atomic_signal_fence"}


def said(file: CFile, line: int) -> bool:
    """A comment with 'pairs with' or 'relaxed' is near: within ABOVE lines
    above the access, or in the two lines that may end its statement, or in
    the comment that heads its function."""
    comments = file.comments
    near = " ".join(comments[max(0, line - 1 - ABOVE) : line + 2])
    if _SAID.search(near):
        return True
    for function in file.functions:
        if function.first <= line <= function.last:
            code = file.code.splitlines()
            above = function.first - 2  # index of the line above the name
            while above >= 0 and code[above].strip() and code[above].strip()[-1] not in ";}":
                above -= 1  # its return type
            head = []
            while above >= 0 and comments[above].strip():
                head.append(comments[above])
                above -= 1
            return bool(_SAID.search(" ".join(reversed(head))))
    return False


def atomic_faults(file: CFile) -> list[str]:
    faults = []
    for match in re.finditer(r"\b(__atomic_\w+|__sync_\w+|atomic_\w+)\s*\(",
                             file.code):  # fmt: skip
        name, line = match[1], file.line_of(match.start())
        where = f"{file.label}:{line}: {name}"
        if name.startswith("__"):
            faults.append(f"{where}: use <stdatomic.h>")
        elif not name.endswith("_explicit") and name not in _OTHER:
            faults.append(f"{where}: say the order (_explicit)")
        elif name not in _UNORDERED and not said(file, line):
            faults.append(f"{where}: no comment near says 'pairs with ...' or 'relaxed: ...'")
    return faults


# With these in place of <stdatomic.h>, any __atomic call left in the
# compiler's output is an access by plain syntax: `x->word = 1`.
SHADOW = """
#pragma once
#define memory_order_relaxed 0
#define memory_order_consume 1
#define memory_order_acquire 2
#define memory_order_release 3
#define memory_order_acq_rel 4
#define memory_order_seq_cst 5
typedef int memory_order;
#define ATOMIC_LLONG_LOCK_FREE 2
#define ATOMIC_LONG_LOCK_FREE 2
#define ATOMIC_INT_LOCK_FREE 2
#define ATOMIC_POINTER_LOCK_FREE 2
#define ATOMIC_BOOL_LOCK_FREE 2
#define ATOMIC_VAR_INIT(v) (v)
typedef _Atomic _Bool atomic_bool;
typedef _Atomic int atomic_int;
typedef _Atomic unsigned int atomic_uint;
typedef _Atomic __SIZE_TYPE__ atomic_size_t;
typedef _Atomic __UINTPTR_TYPE__ atomic_uintptr_t;
void shadow_use(int, ...);
#define SHADOW(p) ({ shadow_use(0, (p)); __typeof__((void)0, *(p)) shadow_value; shadow_value; })
#define SHADOW_STORE(p, v) ({ __typeof__((void)0, *(p)) shadow_value = (v); shadow_use(0, (p), shadow_value); (void)0; })
#define SHADOW_RMW(p, v) ({ SHADOW_STORE(p, v); SHADOW(p); })
#define atomic_init(p, v) SHADOW_STORE(p, v)
#define atomic_is_lock_free(p) 1
#define atomic_thread_fence(o) shadow_use(o)
#define atomic_signal_fence(o) shadow_use(o)
#define atomic_load_explicit(p, o) SHADOW(p)
#define atomic_store_explicit(p, v, o) SHADOW_STORE(p, v)
#define atomic_exchange_explicit(p, v, o) SHADOW_RMW(p, v)
#define atomic_fetch_add_explicit(p, v, o) ({ shadow_use(0, (v)); SHADOW(p); })
#define atomic_fetch_sub_explicit(p, v, o) ({ shadow_use(0, (v)); SHADOW(p); })
#define atomic_fetch_or_explicit(p, v, o) SHADOW_RMW(p, v)
#define atomic_fetch_and_explicit(p, v, o) SHADOW_RMW(p, v)
#define atomic_fetch_xor_explicit(p, v, o) SHADOW_RMW(p, v)
#define atomic_compare_exchange_strong_explicit(p, e, v, s, f) ({ shadow_use(0, (e)); SHADOW_STORE(p, v); (_Bool)(*(e) == 0); })
typedef struct { _Bool set; } atomic_flag;
#define ATOMIC_FLAG_INIT { 0 }
#define atomic_flag_test_and_set_explicit(p, o) ({ shadow_use(0, (p)); (_Bool)0; })
#define atomic_flag_clear_explicit(p, o) shadow_use(0, (p))
#define atomic_compare_exchange_weak_explicit atomic_compare_exchange_strong_explicit
"""


@pytest.fixture
def work(tmp_path):
    """A folder with the header in it."""
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "stdatomic.h").write_text(SHADOW)
    return tmp_path


def implicit_faults(source: Path, work: Path) -> list[str]:
    """Accesses to _Atomic objects by plain syntax, found by the compiler."""
    dump = work / f"{source.parent.name}-{source.stem}.gimple"
    compiler = shlex.split(sysconfig.get_config_var("CC") or "cc")[0]
    done = subprocess.run(
        [compiler, "-std=c11", "-D_GNU_SOURCE", "-O0", "-w", "-I", work / "include", "-I", CSRC,
         "-I", sysconfig.get_path("include"), f"-fdump-tree-gimple-lineno={dump}", "-c", source,
         "-o", work / f"{dump.stem}.o"],
        timeout=60, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = set()
    for line in dump.read_text().splitlines():
        place = re.match(r"\s*\[([^\]:]*?/?(\w+/\w+\.[ch])):(\d+):\d+\].*\b__atomic_\w+", line)
        if place and str(CSRC) in str(Path(place[1]).resolve()):
            found.add(f"{place[2]}:{place[3]}: plain access to an atomic")
    return sorted(found)


@pytest.mark.parametrize("file", sources(), ids=lambda file: file.label)
def test_each_atomic_access_says_order_and_partner(file):
    assert atomic_faults(file) == []


def test_no_atomic_is_touched_by_plain_syntax(work):
    with ThreadPoolExecutor(2) as pool:
        each = pool.map(lambda path: implicit_faults(path, work), sorted(CSRC.glob("*/*.c")))
        faults = sorted({fault for faults in each for fault in faults})
    assert faults == []


def test_a_plain_access_is_seen(work, monkeypatch):
    room = work / "csrc" / "sync"
    room.mkdir(parents=True)
    source = room / "x.c"
    source.write_text(
        "#include <stdatomic.h>\ntypedef struct { _Atomic int word; } t;\n"
        "int load(t *x) { return atomic_load_explicit(&x->word, memory_order_relaxed); }\n"
        "int wrong(t *x) { return x->word; }\nvoid worse(t *x) { x->word = 1; }\n"
    )
    monkeypatch.setitem(globals(), "CSRC", work / "csrc")
    found = implicit_faults(source, work)
    assert [fault.split(": ")[0] for fault in found] == ["sync/x.c:4", "sync/x.c:5"]


@pytest.mark.parametrize(
    "text",
    ["int f(t *x) { return atomic_load(&x->word); }\n",
     "int f(t *x) { return __atomic_load_n(&x->word, 0); }\n",
     "int f(t *x) { return atomic_load_explicit(&x->word, memory_order_acquire); }\n",
     "void f(void) { atomic_thread_fence(memory_order_seq_cst); }\n"],
)  # fmt: skip
def test_a_silent_access_is_seen(text):
    assert len(atomic_faults(CFile(CSRC / "sync" / "x.c", text))) == 1


def test_a_comment_near_or_at_the_head_will_do():
    access = "    return atomic_load_explicit(&x->word, memory_order_acquire);\n"
    near = f"int\nf(t *x)\n{{\n    /* acquire: pairs with the store in g. */\n{access}}}\n"
    filler = "    g();\n" * 10
    head = f"/* Looks twice: the first pairs\n * with g. */\nint\nf(t *x)\n{{\n{filler}{access}}}\n"
    far = f"/* pairs with g */\nint h;\nint\nf(t *x)\n{{\n{filler}{access}}}\n"
    assert atomic_faults(CFile(CSRC / "sync" / "x.c", near)) == []
    assert atomic_faults(CFile(CSRC / "sync" / "x.c", head)) == []
    assert len(atomic_faults(CFile(CSRC / "sync" / "x.c", far))) == 1
