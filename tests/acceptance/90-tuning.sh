# Host tuning on made-up hosts: folders with the files of /sys, /proc and /etc that the scripts read.
# Needs neither root nor the server, and changes nothing of this machine.

tuning_check=$PWD/tuning/check.sh
tuning_apply=$PWD/tuning/apply.sh
tuning=$work/tuning
rm -rf "$tuning" && mkdir -p "$tuning/empty"

# line_file HOST PATH TEXT: a file of one line.
line_file() {
  mkdir -p "$(dirname "$1$2")"
  printf '%s\n' "$3" >"$1$2"
}

# plain_host HOST: four CPUs as a distribution leaves them; nothing on the kernel command line.
plain_host() {
  local host=$1 cpu each
  mkdir -p "$host/etc" "$host/var/lib" "$host/usr/sbin"
  line_file "$host" /sys/devices/system/cpu/online 0-3
  line_file "$host" /sys/devices/system/cpu/isolated ''
  line_file "$host" /sys/devices/system/cpu/nohz_full '(null)'
  line_file "$host" /sys/devices/system/node/node0/cpulist 0-3
  line_file "$host" /sys/devices/system/clocksource/clocksource0/current_clocksource hpet
  line_file "$host" /sys/devices/system/clocksource/clocksource0/available_clocksource 'tsc hpet acpi_pm '
  line_file "$host" /sys/kernel/mm/transparent_hugepage/enabled '[always] madvise never'
  for cpu in 0 1 2 3; do
    each=/sys/devices/system/cpu/cpu$cpu
    line_file "$host" $each/topology/thread_siblings_list "$cpu"
    line_file "$host" $each/cpufreq/scaling_governor powersave
    line_file "$host" $each/cpufreq/scaling_available_governors 'performance powersave'
    line_file "$host" $each/power/pm_qos_resume_latency_us 0
    idle_state "$host" $each/cpuidle/state0 POLL 0
    idle_state "$host" $each/cpuidle/state1 C1 2
    idle_state "$host" $each/cpuidle/state2 C6 133
  done
  line_file "$host" /proc/sys/kernel/osrelease 6.1.0-18-amd64
  line_file "$host" /proc/sys/kernel/io_uring_disabled 0
  line_file "$host" /proc/sys/kernel/random/boot_id 11111111-2222
  line_file "$host" /proc/sys/net/core/busy_read 0
  line_file "$host" /proc/sys/net/core/somaxconn 65535
  line_file "$host" /proc/sys/net/ipv4/tcp_rmem $'4096\t131072\t6291456'
  line_file "$host" /proc/sys/net/ipv4/tcp_wmem $'4096\t16384\t4194304'
  line_file "$host" /proc/sys/vm/swappiness 60
  printf 'Filename Type Size Used Priority\n/dev/sda2 partition 8388604 0 -2\n' >"$host/proc/swaps"
  line_file "$host" /proc/cmdline 'BOOT_IMAGE=/vmlinuz ro quiet'
  line_file "$host" /proc/self/status $'Cpus_allowed_list:\t0-3'
  limits_file_of "$host" 4096 8388608
  line_file "$host" /proc/41/comm irqbalance
  line_file "$host" /proc/irq/30/smp_affinity_list 0-3
  line_file "$host" /proc/irq/31/smp_affinity_list 0
  line_file "$host" /proc/irq/33/smp_affinity_list 0-3
  mkdir "$host/proc/irq/30/eth0-rx-0" "$host/proc/irq/31/eth0-tx-0"
  line_file "$host" /sys/class/net/eth0/device/numa_node -1
  line_file "$host" /sys/class/net/eth0/statistics/rx_missed_errors 7
  mkdir -p "$host/sys/class/net/lo"
  cat >"$host/usr/sbin/ethtool" <<'ETHTOOL'
#!/usr/bin/env bash
# As much of ethtool as is asked for; its settings are in files beside it.
folder=${0%/*}
case $1 in
  -g) printf 'Ring parameters for %s:\nPre-set maximums:\nRX:\t\t4096\nRX Mini:\tn/a\nCurrent hardware settings:\nRX:\t\t%s\nRX Mini:\tn/a\n' "$2" "$(cat "$folder/ring")" ;;
  -c) read -r adaptive usecs <"$folder/coalesce"; printf 'Coalesce parameters for %s:\nAdaptive RX: %s  TX: off\nrx-usecs:\t%s\n' "$2" "$adaptive" "$usecs" ;;
  -C) echo "$4 $6" >"$folder/coalesce" ;;
esac
ETHTOOL
  chmod +x "$host/usr/sbin/ethtool"
  echo 512 >"$host/usr/sbin/ring"
  echo 'on 20' >"$host/usr/sbin/coalesce"
}

# idle_state HOST FOLDER NAME LATENCY
idle_state() {
  line_file "$1" "$2/name" "$3"
  line_file "$1" "$2/latency" "$4"
  line_file "$1" "$2/disable" 0
}

# limits_file_of HOST FILES MEMLOCK: hard limit of open files, locked memory in bytes.
limits_file_of() {
  line_file "$1" /proc/self/limits 'Limit                     Soft Limit           Hard Limit           Units'
  printf '%-25s %-20s %-20s %s\n' 'Max open files' 1024 "$2" files 'Max locked memory' "$3" "$3" bytes >>"$1/proc/self/limits"
}

# beyond_apply HOST: what is only to be had from the kernel command line, a new login, or its owner.
beyond_apply() {
  line_file "$1" /sys/devices/system/cpu/isolated 1-3
  line_file "$1" /sys/devices/system/cpu/nohz_full 1-3
  line_file "$1" /proc/cmdline 'ro isolcpus=managed_irq,domain,1-3 nohz_full=1-3'
  limits_file_of "$1" 16384 67108864
  echo 4096 >"$1/usr/sbin/ring"
}

# tuned SCRIPT HOST CODE WORD… [-- ARGUMENT…]: run on the host, the script ends with CODE, and each
# WORD is somewhere in what it says.
tuned() {
  local script=$1 host=$2 code=$3 got=0 out
  local -a words=()
  shift 3
  while [ $# -gt 0 ] && [ "$1" != -- ]; do words+=("$1") && shift; done
  [ $# = 0 ] || shift
  out=$(cd "$tuning/empty" && TUNING_ROOT=$host "$script" "$@" 2>&1) || got=$?
  printf '%s\n' "$out"
  [ "$got" = "$code" ] || { echo "exit code $got, not $code"; return 1; }
  set -- "${words[@]}"
  for each in "$@"; do
    grep -qF -e "$each" <<<"$out" || { echo "nowhere: $each"; return 1; }
  done
}
# says_no WORD SCRIPT HOST CODE: the word is nowhere.
says_no() {
  local out
  out=$(tuned "$2" "$3" "$4") && ! grep -qF -e "$1" <<<"$out"
}

# same_tree ONE OTHER: every file has the same bytes, and no folder is only in one.
same_tree() { diff -r "$1" "$2" && diff <(cd "$1" && find . | sort) <(cd "$2" && find . | sort); }

# all_states HOST STATE: every setting of the host is in this state.
all_states() {
  local out
  out=$(cd "$tuning/empty" && TUNING_ROOT=$1 "$tuning_check" --json) || true
  ! grep -vF "\"state\":\"$2\"" <<<"$out"
}

plain=$tuning/plain
plain_host "$plain"
cp -a "$plain" "$tuning/plain.before"
check "tuning: an untuned host is told line by line, with exit code 1" tuned "$tuning_check" "$plain" 1 \
  "differs  isolcpus: found none, recommended 1-3" "how: on the kernel command line: isolcpus=managed_irq,domain,1-3" \
  "differs  nohz_full: found none" "differs  rcu_nocbs: found none" "differs  cpufreq governor: found powersave" \
  "differs  C-states: found C6 (133 µs)" "ok       SMT siblings" "differs  IRQ affinity: found 30 (eth0-rx-0), recommended" \
  "differs  irqbalance: found running, may use 1-3" "differs  transparent huge pages: found always" "ok       NUMA: found one node" \
  "differs  NIC rings eth0: found rx 512 of 4096, 7 packets lost" "differs  NIC coalescing eth0: found adaptive-rx on, rx-usecs 20" \
  "differs  net.core.busy_read: found 0" "differs  vm.swappiness: found 60" \
  "ok       RLIMIT_MEMLOCK: found 8192 KiB" "differs  RLIMIT_NOFILE: found 4096 (hard limit), recommended 11280" \
  "differs  clock source: found hpet" "ok       net.core.somaxconn: found 65535" "ok       kernel: found 6.1.0" \
  "ok       CPU mitigations" "ok       usable CPUs: found 0-3" "ok       net.ipv4.tcp_wmem"
check "tuning: the check changes nothing" same_tree "$plain" "$tuning/plain.before"
check "tuning: no colours into a pipe" says_no $'\e' "$tuning_check" "$plain" 1

blind=$tuning/blind
mkdir -p "$blind"
check "tuning: what cannot be read is unknown, and nothing to improve" tuned "$tuning_check" "$blind" 0 "0 ok, 0 differ" "unknown  isolcpus"
check "tuning: there every setting is unknown" all_states "$blind" unknown
check "tuning: nothing is to be applied there but the files" tuned "$tuning_apply" "$blind" 0 "2 changes, none made" -- --dry-run

forbidden=$tuning/forbidden
cp -a "$plain" "$forbidden"
line_file "$forbidden" /proc/sys/kernel/io_uring_disabled 2
check "tuning: io_uring disabled is exit code 1" tuned "$tuning_check" "$forbidden" 1 "differs  kernel.io_uring_disabled: found 2" "how: sysctl -w kernel.io_uring_disabled=0"
line_file "$forbidden" /proc/sys/kernel/io_uring_disabled 1
check "tuning: io_uring for root only is exit code 1" tuned "$tuning_check" "$forbidden" 1 "differs  kernel.io_uring_disabled: found 1"
line_file "$forbidden" /proc/sys/kernel/io_uring_group 990
check "tuning: io_uring for a group is exit code 1" tuned "$tuning_check" "$forbidden" 1 "differs  kernel.io_uring_disabled: found 1 (for root and group 990 only)"
line_file "$forbidden" /proc/sys/kernel/io_uring_disabled 0
limits_file_of "$forbidden" 524288 65536
check "tuning: too little memory to lock is exit code 1" tuned "$tuning_check" "$forbidden" 1 "differs  RLIMIT_MEMLOCK: found 64 KiB, recommended 1536 KiB"
limits_file_of "$forbidden" 524288 unlimited
line_file "$forbidden" /proc/sys/kernel/osrelease 5.4.0
check "tuning: a kernel without what glommio needs is exit code 1" tuned "$tuning_check" "$forbidden" 1 "differs  kernel: found 5.4.0"

check "tuning: JSON has one object a line" python3 - "$tuning_check" "$plain" <<'PYTHON'
import json, os, subprocess, sys
run = subprocess.run([sys.argv[1], "--json"], env={**os.environ, "TUNING_ROOT": sys.argv[2]}, capture_output=True, text=True)
assert run.returncode == 1, run
rows = [json.loads(line) for line in run.stdout.splitlines()]
assert len(rows) > 20 and len({row["setting"] for row in rows}) == len(rows), rows
for row in rows:
    assert row["state"] in ("ok", "differs", "unknown"), row
    assert ("why" in row and "how" in row) == (row["state"] == "differs"), row
PYTHON

check "tuning: cores are taken from --cores" tuned "$tuning_check" "$plain" 1 "isolcpus: found none, recommended 2" "(cores 2)" -- --cores 2
check "tuning: CPU 0 is no good core" tuned "$tuning_check" "$plain" 1 "differs  cores: found 0-1" "isolcpus: found none, recommended 1" -- --cores=0-1
check "tuning: cores are taken from the environment" env CONNECTOR_SHARD_CPUS=1 CONNECTOR_FANOUT_CPU=2 \
  bash -c "$(declare -f tuned); tuning='$tuning'; tuned '$tuning_check' '$plain' 1 '(cores 1-2)'"
printf 'CONNECTOR_SHARD_CPUS=2 # one\nexport CONNECTOR_FANOUT_CPU="3"\n' >"$tuning/empty/.env"
check "tuning: cores are taken from .env" tuned "$tuning_check" "$plain" 1 "(cores 2-3)"
rm "$tuning/empty/.env"
check "tuning: the server's own plan leaves CPU 0 alone" tuned "$tuning_check" "$plain" 1 "(cores 1-3)"

check "tuning: a word that is no argument is refused" tuned "$tuning_check" "$plain" 64 "unknown argument --fast; see --help" -- --fast
check "tuning: a list that is none is refused" tuned "$tuning_check" "$plain" 64 "expected a list of CPUs" -- --cores 1-
check "tuning: a list that runs backwards is refused" tuned "$tuning_check" "$plain" 64 "expected a list of CPUs" -- --cores 3-1
check "tuning: a CPU that is not there is refused" tuned "$tuning_check" "$plain" 64 "CPU 4-7 is not among the CPUs of this host, 0-3" -- --cores 2-7
check "tuning: a missing list is refused" tuned "$tuning_apply" "$plain" 64 "--cores needs a value" -- --cores
check "tuning: apply refuses the same" tuned "$tuning_apply" "$plain" 64 "unknown argument now" -- now
check "tuning: a wrong variable is refused by its name" env CONNECTOR_SHARD_CPUS=two \
  bash -c "$(declare -f tuned); tuning='$tuning'; tuned '$tuning_check' '$plain' 64 'CONNECTOR_SHARD_CPUS=two'"
check "tuning: wrong usage changes nothing" same_tree "$plain" "$tuning/plain.before"

check "tuning: a dry run prints each change" tuned "$tuning_apply" "$plain" 0 "net.core.busy_read: 0 -> 50" "vm.swappiness: 60 -> 10" \
  "governor of CPU 3: powersave -> performance" "interrupt 30 (eth0-rx-0): 0-3 -> 0" "transparent huge pages: always -> madvise" \
  "clock source: hpet -> tsc" "coalescing of eth0: adaptive-rx on, rx-usecs 20 -> adaptive-rx off, rx-usecs 0" \
  "on the kernel command line (tuning/kernel-command-line.md): isolcpus=managed_irq,domain,1-3 irqaffinity=0 nohz_full=1-3 rcu_nocbs=1-3" \
  "keep irqbalance off CPU 1-3" "ethtool -G eth0 rx 4096" -- --dry-run
check "tuning: and changes nothing" same_tree "$plain" "$tuning/plain.before"

host=$tuning/applied
cp -a "$plain" "$host"
line_file "$host" /etc/security/limits.d/90-connector-wss.conf 'mine, older'
cp -a "$host" "$tuning/applied.before"
check "tuning: applying says what it changed" tuned "$tuning_apply" "$host" 0 "net.core.busy_read: 0 -> 50" "changes (cores 1-3); taken back by --undo"
check "tuning: the check sees it applied" tuned "$tuning_check" "$host" 1 "ok       cpufreq governor: found performance" "ok       C-states" \
  "ok       IRQ affinity: found none" "ok       transparent huge pages: found madvise" "ok       NIC coalescing eth0" \
  "ok       net.core.busy_read: found 50" "ok       vm.swappiness: found 10" "ok       clock source: found tsc"
check "tuning: what was better stays so, after the next boot too" grep -q '^# net.core.somaxconn = 4096 (the host had 65535)$' "$host/etc/sysctl.d/90-connector-wss.conf"
check "tuning: CPU 0 is left alone" grep -qx powersave "$host/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
cp -a "$host" "$tuning/applied.once"
check "tuning: applying again changes nothing" tuned "$tuning_apply" "$host" 0 "nothing to change (cores 1-3)"
check "tuning: not a byte" same_tree "$host" "$tuning/applied.once"
check "tuning: undoing can be tried first" tuned "$tuning_apply" "$host" 0 "/proc/sys/vm/swappiness: 10 -> 60" -- --undo --dry-run
check "tuning: which changes nothing" same_tree "$host" "$tuning/applied.once"
check "tuning: undoing says what it gives back" tuned "$tuning_apply" "$host" 0 "/proc/sys/vm/swappiness: 10 -> 60" "coalescing of eth0" -- --undo
check "tuning: every byte is back" same_tree "$host" "$tuning/applied.before"
check "tuning: undoing again says that there is nothing" tuned "$tuning_apply" "$host" 0 "nothing to undo" -- --undo

check "tuning: the old values are kept where it is asked" tuned "$tuning_apply" "$host" 0 "taken back by --undo" -- --state "$tuning/kept"
check "tuning: nowhere else" test ! -e "$host/var/lib/connector-wss" -a -s "$tuning/kept"
line_file "$host" /proc/sys/kernel/random/boot_id 33333333-4444
line_file "$host" /proc/irq/30/smp_affinity_list 2
check "tuning: an interrupt of an older boot is left alone" tuned "$tuning_apply" "$host" 0 "/proc/irq/30/smp_affinity_list: left alone" -- --undo --state "$tuning/kept"
check "tuning: it was" grep -qx 2 "$host/proc/irq/30/smp_affinity_list"
check "tuning: what outlives a boot was given back" grep -qx 60 "$host/proc/sys/vm/swappiness"
check "tuning: applied before a boot" tuned "$tuning_apply" "$host" 0 "interrupt 30 (eth0-rx-0): 2 -> 0"
line_file "$host" /proc/sys/kernel/random/boot_id 55555555-6666
line_file "$host" /proc/irq/30/smp_affinity_list 3
check "tuning: and after it" tuned "$tuning_apply" "$host" 0 "interrupt 30 (eth0-rx-0): 3 -> 0"
check "tuning: the values of the new boot are given back" tuned "$tuning_apply" "$host" 0 "/proc/irq/30/smp_affinity_list: 0 -> 3" -- --undo

host=$tuning/tuned
cp -a "$plain" "$host"
beyond_apply "$host"
check "tuning: a host with the right command line needs the rest only" tuned "$tuning_apply" "$host" 0 "changes (cores 1-3)"
check "tuning: a tuned host has nothing to improve" tuned "$tuning_check" "$host" 0 "0 differ, 0 unknown" \
  "rcu_nocbs: found none (nohz_full covers it)" "irqbalance: found running, may use none of the cores"
check "tuning: there every setting is ok" all_states "$host" ok
line_file "$host" /proc/self/status $'Cpus_allowed_list:\t0'
check "tuning: isolated CPUs must be asked for" tuned "$tuning_check" "$host" 1 "differs  usable CPUs: found 0" "taskset -c 0-3"
line_file "$host" /proc/self/status $'Cpus_allowed_list:\t0-3'
line_file "$host" /sys/devices/system/cpu/cpu1/topology/thread_siblings_list 0-1
check "tuning: a busy SMT sibling is told" tuned "$tuning_check" "$host" 1 "differs  SMT siblings: found 1 with 0"
line_file "$host" /sys/devices/system/cpu/cpu1/topology/thread_siblings_list 1,3
check "tuning: an isolated one with nothing on it is none" tuned "$tuning_check" "$host" 0 "ok       SMT siblings" -- --cores 1,2
line_file "$host" /sys/devices/system/node/node0/cpulist 0-1
line_file "$host" /sys/devices/system/node/node1/cpulist 2-3
line_file "$host" /sys/class/net/eth0/device/numa_node 1
check "tuning: cores away from the NIC are told" tuned "$tuning_check" "$host" 1 "differs  NUMA: found cores on node 0; eth0 1" -- --cores 1
check "tuning: cores beside it are not" tuned "$tuning_check" "$host" 0 "ok       NUMA: found cores on node 1; eth0 1" -- --cores 2
line_file "$host" /proc/irq/40/effective_affinity_list 2
mkdir "$host/proc/irq/40/nvme0q3"
check "tuning: a disk's queue is quiet on isolated CPUs" tuned "$tuning_check" "$host" 0 "ok       IRQ affinity" -- --cores 2

if [ "$(id -u)" != 0 ]; then
  check "tuning: without root it says so" bash -c "'$tuning_apply' 2>&1 | grep -q 'only root may change this host'"
elif command -v setpriv >/dev/null; then
  nobody=$(mktemp -d)
  cp -r tuning "$nobody/" && chmod -R a+rX "$nobody"
  check "tuning: without root it says so" bash -c "cd / && ! setpriv --reuid 65534 --clear-groups '$nobody/tuning/apply.sh' >'$nobody/out' 2>&1; grep -q 'only root may change this host' '$nobody/out'"
  rm -rf "$nobody"
else
  skip "tuning: without root it says so" "setpriv is not there"
fi

if command -v shellcheck >/dev/null; then
  check "shellcheck has nothing to say about the tuning scripts" shellcheck -x tuning/check.sh tuning/apply.sh tuning/lib.sh
else
  skip "shellcheck" "it is not there"
fi
