#!/usr/bin/env bash
# What of this host costs the server time, or keeps it from running. Reads only.
set -euo pipefail
# shellcheck source=tuning/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
  cat <<'TEXT'
usage: tuning/check.sh [--cores LIST] [--json]

One line for each setting of this host: what was found and what is recommended; where they differ
also why it matters and how to change it. Changes nothing.

  --cores LIST  the CPUs that the server pins, such as 1-3; default: what the server would pin, from
                CONNECTOR_SHARD_CPUS, CONNECTOR_FANOUT_CPU, CONNECTOR_SHARDS and CONNECTOR_OPS_CPU in
                the environment or in .env here, else from the number of CPUs
  --json        one JSON object a line

Limits and usable CPUs are those of this shell: run it the way the server is run.
TUNING_ROOT: a folder below which /sys, /proc and /etc are looked for.

Exit code: 0 nothing to improve; 1 something recommended differs; 64 wrong usage. What cannot be read
is `unknown`, and changes no exit code.
TEXT
}

json=0
wanted_cores=
while [ $# -gt 0 ]; do
  case $1 in
    --cores)
      [ -n "${2:-}" ] || usage_error "--cores needs a list of CPUs such as 1-3"
      wanted_cores=$2
      shift
      ;;
    --cores=?*) wanted_cores=${1#*=} ;;
    --json) json=1 ;;
    -h | --help)
      usage
      exit 0
      ;;
    *) usage_error "unknown argument $1; see --help" ;;
  esac
  shift
done

declare -A count=([ok]=0 [differs]=0 [unknown]=0)
declare -A colour=([ok]=32 [differs]=33 [unknown]=36)
[ -t 1 ] || colour=()

escaped() {
  local text=${1//\\/\\\\}
  text=${text//\"/\\\"}
  printf '%s' "${text//[[:cntrl:]]/ }"
}

# report STATE SETTING FOUND RECOMMENDED [WHY HOW]
report() {
  local state=$1 setting=$2 found=$3 recommended=$4 why=${5:-} how=${6:-} word
  count[$state]=$((count[$state] + 1))
  case $state in ok | unknown) why='' how='' ;; esac
  if [ "$json" = 1 ]; then
    printf '{"setting":"%s","state":"%s","found":"%s","recommended":"%s"' \
      "$(escaped "$setting")" "$state" "$(escaped "$found")" "$(escaped "$recommended")"
    [ -z "$why" ] || printf ',"why":"%s","how":"%s"' "$(escaped "$why")" "$(escaped "$how")"
    printf '}\n'
    return
  fi
  printf -v word '%-8s' "$state"
  [ -z "${colour[$state]:-}" ] || word=$'\e['"${colour[$state]}m$word"$'\e[0m'
  printf '%s %s: found %s, recommended %s\n' "$word" "$setting" "$found" "$recommended"
  [ -z "$why" ] || printf '         why: %s\n         how: %s\n' "$why" "$how"
}

# verdict COMMAND…: `ok` if it succeeds, else `differs`.
verdict() { if "$@"; then echo ok; else echo differs; fi; }

check_kernel() {
  local why="glommio needs io_uring as Linux 5.8 has it; without, plain pinned threads do the same"
  if ! first_line /proc/sys/kernel/osrelease || [[ ! $line =~ ^([0-9]+)\.([0-9]+) ]]; then
    report unknown kernel "nothing readable" "5.8 or newer"
  elif [ $((BASH_REMATCH[1] * 1000 + BASH_REMATCH[2])) -ge 5008 ]; then
    report ok kernel "$line" "5.8 or newer"
  else
    report differs kernel "$line" "5.8 or newer" "$why" "install a newer kernel"
  fi
}

check_io_uring() {
  local name=kernel.io_uring_disabled disabled group=-1
  local why="without io_uring plain pinned threads do what glommio's executors do"
  local how="sysctl -w $name=0, or tuning/apply.sh; in a container its seccomp profile must allow io_uring too"
  if ! first_line "$(sysctl_path $name)"; then
    first_line /proc/sys/kernel/osrelease || line=
    if [[ $line =~ ^([0-9]+)\.([0-9]+) ]] && [ $((BASH_REMATCH[1] * 1000 + BASH_REMATCH[2])) -lt 6006 ]; then
      report ok $name "no such setting (it came with Linux 6.6)" 0
    else
      report unknown $name "nothing readable" 0
    fi
    return
  fi
  disabled=$line
  ! first_line /proc/sys/kernel/io_uring_group || group=$line
  case $disabled in
    0) report ok $name 0 0 ;;
    1)
      if [ "$group" = -1 ]; then
        report differs $name "1 (for root only)" 0 "$why" "$how"
      else
        report differs $name "1 (for root and group $group only)" 0 "$why" \
          "run the server in group $group, or: $how"
      fi
      ;;
    *) report differs $name "$disabled (for nobody)" 0 "$why" "$how" ;;
  esac
}

check_memlock() {
  local kib executors least
  expand "$cores"
  executors=${#cpus[@]}
  least=$((memlock_kib * (executors > 1 ? executors : 1)))
  local how="tuning/apply.sh and log in again; for a service LimitMEMLOCK=infinity in its unit"
  if ! limit "Max locked memory" 1; then
    report unknown RLIMIT_MEMLOCK "nothing readable" "$least KiB or more"
  elif [ "$line" = unlimited ]; then
    report ok RLIMIT_MEMLOCK unlimited "$least KiB or more"
  else
    kib=$((line / 1024))
    if [ "$kib" -lt "$memlock_kib" ]; then
      report differs RLIMIT_MEMLOCK "$kib KiB" "$least KiB or more" \
        "each of glommio's executors needs $memlock_kib KiB; without, plain pinned threads do the same" "$how"
    else
      report "$(verdict [ "$kib" -ge "$least" ])" RLIMIT_MEMLOCK "$kib KiB" "$least KiB or more" \
        "before Linux 5.12 the rings of all executors count against one limit, $memlock_kib KiB each" "$how"
    fi
  fi
}

check_nofile() {
  local clients least
  clients=$(clients_max)
  least=$((clients + files_beside_clients))
  if ! limit "Max open files" 2; then
    report unknown RLIMIT_NOFILE "nothing readable" "$least or more"
  elif [ "$line" = unlimited ]; then
    report ok RLIMIT_NOFILE unlimited "$least or more"
  else
    report "$(verdict [ "$line" -ge "$least" ])" RLIMIT_NOFILE "$line (hard limit)" "$least or more" \
      "$clients clients need $least files; beyond, clients wait unanswered" \
      "tuning/apply.sh and log in again; for a service LimitNOFILE=$least in its unit; or a lower CONNECTOR_WSS_CLIENTS_MAX"
  fi
}

check_cores() {
  if [ -z "$cores" ]; then
    report unknown cores "nothing readable" "CPUs other than 0"
  else
    report "$(verdict [ "$isolable" = "$cores" ])" cores "$cores" "CPUs other than 0" \
      "CPU 0 keeps the kernel's time and most interrupts, and cannot be left alone" \
      "name others in CONNECTOR_SHARD_CPUS and CONNECTOR_FANOUT_CPU; a host with one CPU has none"
  fi
}

check_allowed() {
  local absent
  if [ -z "$cores" ] || ! field /proc/self/status Cpus_allowed_list: || ! expand "$line"; then
    report unknown "usable CPUs" "nothing readable" "${cores:-the cores}"
    return
  fi
  absent=$(without "$cores" "$line")
  report "$(verdict [ -z "$absent" ])" "usable CPUs" "$line" "$cores among them" \
    "a server started from here may not use CPU $absent: it pins others, or refuses to start if they are named (isolcpus takes CPUs from every process that does not ask for them)" \
    "start it with taskset -c $(expand "$cores,${others:-$cores}" && compress "${cpus[@]}"), or CPUAffinity= in its unit, and run this check in the same way"
}

# check_isolation SETTING READER PARAMETER WHY: a list of CPUs that must cover what can be isolated.
check_isolation() {
  local absent found
  if [ -z "$cores" ] || ! "$2"; then
    report unknown "$1" "nothing readable" "${isolable:-the cores}"
  elif [ -z "$isolable" ]; then
    report unknown "$1" "${line:-none}" "nothing: CPU 0 cannot be left alone"
  else
    found=${line:-none}
    absent=$(without "$isolable" "$line")
    if [ "$1" = rcu_nocbs ] && [ -n "$absent" ] && nohz_cpus && [ -z "$(without "$absent" "$line")" ]; then
      found="$found (nohz_full covers it)" absent=
    fi
    report "$(verdict [ -z "$absent" ])" "$1" "$found" "$isolable" "$4" \
      "on the kernel command line: $3$isolable; see tuning/kernel-command-line.md"
  fi
}

check_governor() {
  local cpu found='' unread=0 bad=0
  expand "$cores"
  for cpu in "${cpus[@]}"; do
    first_line "/sys/devices/system/cpu/cpu$cpu/cpufreq/scaling_governor" || { unread=1; continue; }
    [[ ", $found" == *", $line"* ]] || found+=${found:+, }$line
    [ "$line" = performance ] || bad=1
  done
  if [ -z "$found" ] || { [ "$unread" = 1 ] && [ "$bad" = 0 ]; }; then
    report unknown "cpufreq governor" "no cpufreq to read (a virtual machine, or the firmware decides)" performance
  else
    report "$(verdict [ "$bad" = 0 ])" "cpufreq governor" "$found" performance \
      "a core that lowered its clock takes the first messages after a pause slower" \
      "tuning/apply.sh, or cpupower frequency-set -g performance"
  fi
}

check_idle() {
  local cpu found='' unknown=0
  expand "$cores"
  [ ${#cpus[@]} != 0 ] || unknown=1
  for cpu in "${cpus[@]}"; do
    deepest_idle "$cpu" || { unknown=1; continue; }
    [ -z "$line" ] || [[ ", $found," == *", $line,"* ]] || found+=${found:+, }$line
  done
  if [ -n "$found" ]; then
    report differs C-states "$found" "none slower than $idle_exit_us µs to leave" \
      "a core that parks needs that long to come back (with CONNECTOR_WAIT=spin it never parks)" \
      "tuning/apply.sh (pm_qos_resume_latency_us of each core), or max_cstate: see tuning/kernel-command-line.md"
  elif kernel_parameter idle && [ "$line" = poll ]; then
    report ok C-states "idle=poll" "none slower than $idle_exit_us µs to leave"
  elif [ "$unknown" = 1 ]; then
    report unknown C-states "no cpuidle states to read" "none slower than $idle_exit_us µs to leave"
  else
    report ok C-states "none slower than $idle_exit_us µs" "none slower than $idle_exit_us µs to leave"
  fi
}

check_smt() {
  local cpu shared='' unknown=0 siblings busy isolated=
  ! isolated_cpus || isolated=$line
  expand "$cores"
  [ ${#cpus[@]} != 0 ] || unknown=1
  for cpu in "${cpus[@]}"; do
    first_line "/sys/devices/system/cpu/cpu$cpu/topology/thread_siblings_list" || { unknown=1; continue; }
    siblings=$(common "$(without "$line" "$cpu")" "$online")
    # An isolated sibling on which nothing is pinned does nothing.
    busy=$(without "$siblings" "$(without "$isolated" "$cores")")
    [ -z "$busy" ] || shared+="${shared:+, }$cpu with $busy"
  done
  if [ -n "$shared" ]; then
    report differs "SMT siblings" "$shared" "each core alone, or its siblings isolated and idle" \
      "two threads of one core share its execution units and caches; what the other does costs ours" \
      "echo 0 > /sys/devices/system/cpu/cpuN/online for the sibling, isolate it too, nosmt on the kernel command line, or name other cores"
  elif [ "$unknown" = 1 ]; then
    report unknown "SMT siblings" "nothing readable" "each core alone"
  else
    report ok "SMT siblings" none "each core alone, or its siblings isolated and idle"
  fi
}

check_irqs() {
  local number name list found='' quiet=1
  if [ -z "$cores" ] || ! list=$(irqs_on_cores); then
    report unknown "IRQ affinity" "nothing readable" "no interrupt on ${cores:-the cores}"
    return
  fi
  isolated_managed || quiet=0
  while read -r number name; do
    [ -n "$number" ] || continue
    # A disk queue of an isolated CPU is quiet while nobody there uses the disk.
    [ "$quiet" = 1 ] && kernel_places "$name" && continue
    found+="${found:+, }$number ($name)"
  done <<<"$list"
  if [ -z "$found" ]; then
    report ok "IRQ affinity" none "no interrupt on $cores"
  else
    report differs "IRQ affinity" "$found" "no interrupt on $cores" \
      "each interrupt stops the core that it arrives on" \
      "tuning/apply.sh; for all devices from the start irqaffinity=${others:-0}, and for queues of disks isolcpus=managed_irq,…, on the kernel command line"
  fi
}

check_irqbalance() {
  local code=0
  irqbalance_runs || code=$?
  if [ "$code" = 2 ] || [ -z "$cores" ]; then
    report unknown irqbalance "no process to see" "not running, or kept off the cores"
  elif [ "$code" = 1 ]; then
    report ok irqbalance "not running" "not running, or kept off the cores"
  else
    irqbalance_reach
    report "$(verdict [ -z "$line" ])" irqbalance "running, may use ${line:-none of the cores}" "not running, or kept off the cores" \
      "it moves interrupts back onto the cores" \
      "IRQBALANCE_BANNED_CPULIST=$cores in /etc/default/irqbalance (Debian) or /etc/sysconfig/irqbalance (RHEL) and restart it, isolate the cores, or systemctl disable --now irqbalance"
  fi
}

check_thp() {
  local word
  if ! first_line /sys/kernel/mm/transparent_hugepage/enabled; then
    report unknown "transparent huge pages" "nothing readable" "madvise or never"
    return
  fi
  word=$(chosen_word "$line")
  report "$(verdict [ "$word" != always ])" "transparent huge pages" "$word" "madvise or never" \
    "the kernel stops a process to gather and compact memory for them" \
    "tuning/apply.sh, or transparent_hugepage=madvise on the kernel command line"
}

check_numa() {
  local folder node nodes='' of='' nic_nodes='' each away=0
  for folder in "$root"/sys/devices/system/node/node[0-9]*; do
    first_line "${folder#"$root"}/cpulist" || continue
    node=${folder##*/node}
    nodes+="$node "
    [ -z "$(common "$cores" "$line")" ] || of+=${of:+, }$node
  done
  for each in $(nics); do
    first_line "/sys/class/net/$each/device/numa_node" || continue
    # -1: the firmware does not say.
    [[ $line =~ ^[0-9]+$ ]] || continue
    nic_nodes+="${nic_nodes:+, }$each $line"
    [[ ", $of," == *", $line,"* ]] || away=1
  done
  if [ -z "$nodes" ] || [ -z "$cores" ]; then
    report unknown NUMA "nothing readable" "cores and NIC on one node"
  elif [[ $nodes =~ ^[0-9]+\ $ ]]; then
    report ok NUMA "one node" "cores and NIC on one node"
  elif [[ $of == *,* ]] || [ "$away" = 1 ]; then
    report differs NUMA "cores on node $of${nic_nodes:+; $nic_nodes}" "cores and NIC on one node" \
      "memory and NIC of another node are further away, for every message" \
      "name cores of the NIC's node in CONNECTOR_SHARD_CPUS and CONNECTOR_FANOUT_CPU (lscpu lists them)"
  elif [ -z "$nic_nodes" ]; then
    report unknown NUMA "cores on node $of; the NIC's node is not told" "cores and NIC on one node"
  else
    report ok NUMA "cores on node $of; $nic_nodes" "cores and NIC on one node"
  fi
}

check_nics() {
  local nic each lost list
  list=$(nics)
  if [ -z "$list" ] || ! has_ethtool; then
    lost="no ethtool here"
    [ -n "$list" ] || lost="no NIC to read"
    report unknown "NIC rings" "$lost" "room enough to lose no packet"
    report unknown "NIC coalescing" "$lost" "adaptive-rx off, rx-usecs $coalesce_us or less"
    return
  fi
  for nic in $list; do
    lost=0
    for each in rx_missed_errors rx_fifo_errors; do
      first_line "/sys/class/net/$nic/statistics/$each" && [[ $line =~ ^[0-9]+$ ]] && lost=$((lost + line))
    done
    if rx_ring "$nic"; then
      report "$(verdict rings_suffice)" "NIC rings $nic" "rx $ring_now of $ring_max, $lost packets lost for want of room" "no packet lost, or rx $ring_max" \
        "a lost packet is sent again after milliseconds, and what follows it waits" \
        "ethtool -G $nic rx $ring_max (many drivers reset the link: sessions break once)"
    else
      report unknown "NIC rings $nic" "nothing that ethtool can read" "no packet lost for want of room"
    fi
    if coalescing "$nic"; then
      report "$(verdict coalesces_little)" "NIC coalescing $nic" "adaptive-rx ${adaptive:-not offered}, rx-usecs $rx_usecs" "adaptive-rx off, rx-usecs $coalesce_us or less" \
        "the NIC holds a packet back that long before it tells" \
        "tuning/apply.sh, or ethtool -C $nic adaptive-rx off rx-usecs 0"
    else
      report unknown "NIC coalescing $nic" "nothing that ethtool can read" "adaptive-rx off, rx-usecs $coalesce_us or less"
    fi
  done
}

rings_suffice() { [ "$lost" = 0 ] || [ "$ring_now" -ge "$ring_max" ]; }

check_sysctls() {
  local key value why
  while read -r key value; do
    case $key in
      kernel.io_uring_disabled) continue ;;
      net.core.busy_read) why="a read that finds nothing looks into the NIC's queue itself instead of waiting for its interrupt" ;;
      net.core.somaxconn) why="the kernel cuts the listening queue of 4,096 to this: a connect storm waits for SYNs to be sent again" ;;
      vm.swappiness) why="memory that comes back from a disk takes milliseconds" ;;
      *) why="see tuning/README.md" ;;
    esac
    if ! first_line "$(sysctl_path "$key")" || [[ ! $line =~ ^[0-9]+$ ]]; then
      report unknown "$key" "nothing readable" "$value"
    elif [ "$(compare_sysctl "$key" "$line" "$value")" != worse ]; then
      report ok "$key" "$line" "$value"
    elif [ "$key" = vm.swappiness ] && has_no_swap; then
      report ok "$key" "$line, and no swap" "$value"
    else
      report differs "$key" "$line" "$value" "$why" "tuning/apply.sh, or sysctl -w $key=$value"
    fi
  done < <(sysctls)
}

check_tcp_memory() {
  local key most default="4096 131072 6291456"
  for key in net.ipv4.tcp_rmem net.ipv4.tcp_wmem; do
    if ! first_line "$(sysctl_path "$key")" || [[ ! $line =~ ([0-9]+)[[:space:]]*$ ]]; then
      report unknown "$key" "nothing readable" "1048576 or more at most"
      continue
    fi
    most=${BASH_REMATCH[1]}
    [ "$key" != net.ipv4.tcp_wmem ] || default="4096 16384 4194304"
    report "$(verdict [ "$most" -ge 1048576 ])" "$key" "$most at most" "1048576 or more at most" \
      "2,000 candles of one minute's end are 1 MB on one connection; with less room they leave in portions" \
      "sysctl -w '$key=$default' (the kernel's default), and look who lowered it in /etc/sysctl.d"
  done
}

check_clock() {
  if ! first_line /sys/devices/system/clocksource/clocksource0/current_clocksource; then
    report unknown "clock source" "nothing readable" tsc
    return
  fi
  local bad=1
  case $line in tsc | arch_sys_counter) bad=0 ;; esac
  report "$(verdict [ $bad = 0 ])" "clock source" "$line" tsc \
    "the clock is read once in each round; others than the CPU's own counter are slower to read, some by a system call" \
    "tuning/apply.sh, if the kernel offers tsc; if it does not, dmesg says why it was found unstable"
}

check_mitigations() {
  if ! first_line /proc/cmdline; then
    report unknown "CPU mitigations" "nothing readable" "your decision"
  else
    kernel_parameter mitigations || line="auto (the kernel's default)"
    report ok "CPU mitigations" "$line" "your decision: see tuning/README.md"
  fi
}

choose_cores "$wanted_cores"
check_kernel
check_io_uring
check_memlock
check_nofile
check_cores
check_allowed
check_isolation isolcpus isolated_cpus isolcpus=managed_irq,domain, \
  "the scheduler puts other processes on the cores"
check_isolation nohz_full nohz_cpus nohz_full= \
  "the kernel's tick stops a busy core a hundred to a thousand times a second"
check_isolation rcu_nocbs nocb_cpus rcu_nocbs= \
  "the kernel frees what other CPUs dropped (RCU callbacks) on the cores"
check_governor
check_idle
check_smt
check_irqs
check_irqbalance
check_thp
check_numa
check_nics
check_sysctls
check_tcp_memory
check_clock
check_mitigations

[ "$json" = 1 ] ||
  printf '%d ok, %d differ, %d unknown (cores %s)\n' \
    "${count[ok]}" "${count[differs]}" "${count[unknown]}" "${cores:-unknown}"
[ "${count[differs]}" = 0 ] || exit 1
