# SPDX-License-Identifier: Apache-2.0
"""`ipcsys doctor`: each verdict from made-up facts, and the facts of this machine."""

import json
import os
import resource
import subprocess
import sys
from dataclasses import replace

import pytest

import ipcsys
from ipcsys import doctor
from ipcsys.cli import main
from ipcsys.doctor import FAIL, OK, WARN, Facts, Leftover

GIB, MIB = 1 << 30, 1 << 20


def verdicts(facts):
    return {finding.check: finding for finding in doctor.examine(facts)}


def test_a_good_machine_has_nothing_to_complain_about():
    found = doctor.examine(Facts())
    assert {finding.verdict for finding in found} == {OK}
    assert all(finding.what and not finding.remedy for finding in found)
    assert len({finding.check for finding in found}) == len(found)


BAD = [
    ("folder", FAIL, {"folder_owner": 7}, "belongs to user 7"),
    ("folder", FAIL, {"folder_owner": 1000, "folder_mode": 0o755}, "0755: open to others"),
    ("folder", FAIL, {"read_only": True}, "read-only"),
    ("trial", FAIL, {"trial": "NoSpace: full"}, "NoSpace: full"),
    ("file system", WARN, {"file_system": "ext4"}, "lies on ext4"),
    ("space", FAIL, {"free": 3 * MIB}, "3 MiB of 8.0 GiB free"),
    ("space", WARN, {"size": 64 * MIB, "free": 64 * MIB, "container": "docker"}, "docker's def"),
    ("space", WARN, {"free": GIB // 2}, "nearly full"),
    ("inodes", WARN, {"free_files": 12}, "12 more files"),
    ("kernel", FAIL, {"kernel": (4, 19)}, "Linux 4.19: too old"),
    ("futex_waitv", WARN, {"waitv": False}, "refused (an old seccomp profile?)"),
    ("futex_waitv", WARN, {"waitv": False, "kernel": (5, 10)}, "older than 5.16"),
    ("bell", WARN, {"bell": False}, "no bell"),
    ("CPUs", WARN, {"cpus": 1}, "one CPU"),
    ("CPUs", WARN, {"cpus": 4, "cpu_quota": 0.5}, "4 CPUs, but time for 0.5"),
    ("RLIMIT_NOFILE", WARN, {"open_files": 64}, "64 open files"),
    ("RLIMIT_AS", WARN, {"address_space": 4 * GIB}, "4.0 GiB of addresses"),
    ("RLIMIT_FSIZE", WARN, {"file_size": 100 * MIB}, "100 MiB"),
    ("vm.max_map_count", WARN, {"max_map_count": 4096}, "4096"),
    ("memory limit", WARN, {"memory_limit": GIB, "memory_used": GIB - MIB}, "1 MiB of 1.0 GiB"),
    ("memory limit", WARN, {"memory_limit": GIB, "memory_used": 0}, "less than the 8.0 GiB"),
    ("hidepid", WARN, {"hidepid": "2"}, "hidepid=2"),
    ("clock", WARN, {"clock": "hpet"}, "hpet"),
    ("RemoveIPC", WARN, {"logind": True}, "at the last logout"),
    ("leftovers", WARN, {"leftovers": (Leftover("/x/old", 100 * MIB),)}, "hold 100 MiB"),
    ("formats", WARN, {"strangers": (Leftover("/x/0", MIB, "older"),)}, "1 folders of other"),
    ("Python", WARN, {"free_threaded": True}, "without a GIL"),
]


@pytest.mark.parametrize(("check", "verdict", "facts", "text"), BAD)
def test_a_fault_is_named_with_a_remedy_and_nothing_else_is(check, verdict, facts, text):
    found = verdicts(Facts(**facts))
    assert found[check].verdict == verdict and text in found[check].what
    assert found[check].remedy
    assert {name for name, finding in found.items() if finding.verdict != OK} == {check}


FINE = [
    ("space", {"size": 64 * GIB, "free": 32 * GIB}),
    ("RemoveIPC", {"logind": True, "lingers": True}),
    ("RemoveIPC", {"logind": True, "user": 998}),
    ("RemoveIPC", {"logind": True, "folder": "/run/app/ipcsys"}),
    ("memory limit", {"memory_limit": 64 * GIB}),
    ("leftovers", {"leftovers": (Leftover("/x/default", 0),)}),
    ("hidepid", {"hidepid": "0"}),
    ("CPUs", {"cpu_quota": 4.0}),
    ("folder", {"folder_owner": 1000}),
]


@pytest.mark.parametrize(("check", "facts"), FINE)
def test_what_only_looks_like_a_fault_is_none(check, facts):
    assert verdicts(Facts(**facts))[check].verdict == OK


def test_leftovers_and_strangers_are_listed_with_their_size():
    facts = Facts(
        leftovers=(Leftover("/x/a", GIB), Leftover("/x/b", MIB)),
        strangers=(Leftover("/x/0", MIB, "not one of this version"),),
    )
    found = verdicts(facts)
    assert found["leftovers"].details == ("/x/a (1.0 GiB)", "/x/b (1 MiB)")
    assert found["formats"].details == ("/x/0 (1 MiB): not one of this version",)


def test_the_mount_of_a_path_is_the_innermost_one():
    mounts = "a / ext4 rw 0 0\nb /dev/shm tmpfs ro,size=4k 0 0\nc /dev/sh xfs rw 0 0\n"
    assert doctor.mount_of("/dev/shm/x", mounts) == ("tmpfs", "ro,size=4k")
    assert doctor.mount_of("/home", mounts) == ("ext4", "rw")
    assert doctor.mount_of("/a b/c", "d /a\\040b tmpfs rw 0 0\n") == ("tmpfs", "rw")


@pytest.mark.parametrize(
    ("texts", "verdict"),
    [
        ([], True),
        (["#RemoveIPC=no\n"], True),
        (["[Login]\nRemoveIPC=no\n"], False),
        (["RemoveIPC=no", "RemoveIPC = yes"], True),
    ],
)
def test_logind_removes_unless_it_is_told_not_to(texts, verdict):
    assert doctor.removes_ipc(texts) is verdict


def test_the_facts_of_this_machine_are_plausible(namespace_folder):
    facts = doctor.gather()
    assert facts.folder == os.path.dirname(namespace_folder)
    assert facts.user == os.geteuid() == facts.folder_owner and facts.folder_mode == 0o700
    assert facts.trial == "" and 0 < facts.free <= facts.size
    assert facts.cpus == len(os.sched_getaffinity(0))
    assert facts.kernel >= (5, 4)
    assert not [name for name in os.listdir(facts.folder) if name.startswith("doctor-")]


def test_an_abandoned_namespace_is_found_and_a_lived_in_one_is_not(tmp_path):
    code = "import ipcsys; q = ipcsys.Queue(name='q', namespace='left')"
    environment = {**os.environ, "IPCSYS_DIR": str(tmp_path)}
    os.chmod(tmp_path, 0o700)
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=environment)
    stay = (
        "import ipcsys; q = ipcsys.Queue(name='q', namespace='lived');print(1, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", stay], env=environment, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        process.stdout.readline()
        done = subprocess.run(
            [sys.executable, "-m", "ipcsys", "doctor", "--json"], env=environment,
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        process.communicate(b"\n", timeout=20)
    facts = json.loads(done.stdout)["facts"]
    assert [left["path"] for left in facts["leftovers"]] == [str(tmp_path / "left")]
    assert facts["leftovers"][0]["size"] > 0


def test_a_namespace_of_another_version_is_told(tmp_path):
    os.chmod(tmp_path, 0o700)
    (tmp_path / "old").mkdir(mode=0o700)
    (tmp_path / "old" / ".members").write_bytes(b"something else" * 1000)
    os.chmod(tmp_path / "old" / ".members", 0o600)
    done = subprocess.run(
        [sys.executable, "-m", "ipcsys", "doctor", "--json"], capture_output=True, text=True,
        timeout=60, env={**os.environ, "IPCSYS_DIR": str(tmp_path)},
    )  # fmt: skip
    (stranger,) = json.loads(done.stdout)["facts"]["strangers"]
    assert stranger["path"] == str(tmp_path / "old") and "version" in stranger["why"]


def test_a_folder_open_to_others_fails_with_status_1(tmp_path):
    (tmp_path / "root").mkdir(mode=0o755)
    os.chmod(tmp_path / "root", 0o755)
    done = subprocess.run(
        [sys.executable, "-m", "ipcsys", "doctor"], capture_output=True, text=True, timeout=60,
        env={**os.environ, "IPCSYS_DIR": str(tmp_path / "root")},
    )  # fmt: skip
    assert done.returncode == 1
    assert "fail" in done.stdout and "chmod 700" in done.stdout


def test_the_limits_of_this_process_are_read():
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (90, 100));"
        "from ipcsys import doctor; print(doctor.gather().open_files)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["90"]
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 90


def test_the_command_prints_findings_and_json(capsys, monkeypatch):
    bad = replace(Facts(), cpus=1)
    monkeypatch.setattr(doctor, "gather", lambda: bad)
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "warn" in out and "one CPU" in out and "taskset" in out
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"healthy", "findings", "facts"} and found["healthy"] is True
    (warned,) = [finding for finding in found["findings"] if finding["verdict"] == "warn"]
    assert set(warned) == {"check", "verdict", "what", "remedy", "details"}
    monkeypatch.setattr(doctor, "gather", lambda: Facts(trial="no"))
    assert main(["doctor", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["healthy"] is False
    monkeypatch.setattr(doctor, "gather", Facts)
    assert main(["doctor"]) == 0
    assert "Nothing to complain about." in capsys.readouterr().out


def test_doctor_changes_nothing_of_the_namespaces():
    lock = ipcsys.Lock(name="door")
    lock.acquire()
    assert main(["doctor", "--json"]) in (0, 1)
    assert lock.locked() and lock.owner == os.getpid()
