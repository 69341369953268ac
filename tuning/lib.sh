# shellcheck shell=bash
# What check.sh and apply.sh share: how a host is read, which cores are meant, what is good enough.
# Owns no judgement in words and changes nothing. Everything is read below $TUNING_ROOT.
# shellcheck disable=SC2034 # used by those who source it
# shellcheck disable=SC2015 # A && B || continue: either must hold to go on

# So that a usage error inside $(…) ends the script too.
shopt -s inherit_errexit
root=${TUNING_ROOT:-}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
sysctl_file=/etc/sysctl.d/90-connector-wss.conf
limits_file=/etc/security/limits.d/90-connector-wss.conf

# Files beside one for each client. Source: FILES_BESIDE_CLIENTS + REFUSALS_MAX in src/limits.rs.
files_beside_clients=1280
# Locked memory for each executor, in KiB. Source: MEMLOCK_BYTES_MIN in src/cores/machine/probe.rs.
memlock_kib=512
# Longest exit from an idle state that a pinned core may take, in µs: C1, and nothing deeper.
# Source: TuneD's profile latency-performance (force_latency).
idle_exit_us=3
# Longest wait of the NIC before it interrupts, in µs.
coalesce_us=8

usage_error() {
  printf '%s: %s\n' "${0##*/}" "$1" >&2
  exit 64
}

# first_line PATH: the file's first line in $line; fails where it cannot be read.
first_line() {
  line=
  [ -f "$root$1" ] && [ -r "$root$1" ] || return 1
  IFS= read -r line 2>/dev/null <"$root$1" || [ -n "$line" ] || [ ! -s "$root$1" ]
}

# field PATH NAME: what follows NAME at the beginning of a line, in $line; fails if there is none.
field() {
  local each
  line=
  [ -r "$root$1" ] || return 1
  while IFS= read -r each; do
    if [[ $each == "$2"* ]]; then
      line=${each#"$2"}
      line=${line#"${line%%[![:space:]]*}"}
      return 0
    fi
  done <"$root$1"
  return 1
}

# expand LIST: the CPUs of a list such as 1-3,8, in $cpus; fails for what is no list.
expand() {
  local list=${1//[[:space:]]/} part cpu first last
  cpus=()
  [ -n "$list" ] || return 0
  [[ $list =~ ^[0-9]{1,4}(-[0-9]{1,4})?(,[0-9]{1,4}(-[0-9]{1,4})?)*$ ]] || return 1
  for part in ${list//,/ }; do
    first=$((10#${part%-*})) last=$((10#${part#*-}))
    [ "$first" -le "$last" ] || return 1
    for ((cpu = first; cpu <= last; cpu++)); do cpus+=("$cpu"); done
  done
}

# compress CPU…: them as a list, such as 1-3,8.
compress() {
  local cpu first='' last='' list=''
  for cpu in $(printf '%s\n' "$@" | sort -nu) end; do
    if [ -n "$last" ] && [ "$cpu" = $((last + 1)) ]; then
      last=$cpu
      continue
    fi
    if [ -n "$first" ]; then
      list+=${list:+,}$first
      [ "$first" = "$last" ] || list+=-$last
    fi
    first=$cpu last=$cpu
    [ "$cpu" != end ] || break
  done
  printf '%s' "$list"
}

# without LIST OTHER, common LIST OTHER: the CPUs of LIST that are not, or are, in OTHER.
without() { select_cpus 1 "$@"; }
common() { select_cpus 0 "$@"; }
select_cpus() {
  local cpu code
  local -a all=() kept=()
  expand "$2" || return 1
  all=("${cpus[@]}")
  expand "$3" || return 1
  for cpu in "${all[@]}"; do
    code=0
    [[ " ${cpus[*]} " == *" $cpu "* ]] || code=1
    [ "$code" != "$1" ] || kept+=("$cpu")
  done
  [ ${#kept[@]} = 0 ] || compress "${kept[@]}"
}

# setting NAME: a variable of the server, from the environment, else from .env here, else nothing.
setting() {
  local each value=
  if [ -n "${!1+set}" ]; then
    printf '%s' "${!1}"
    return
  fi
  [ -r .env ] || return 0
  while IFS= read -r each || [ -n "$each" ]; do
    [[ $each =~ ^[[:space:]]*(export[[:space:]]+)?"$1"[[:space:]]*=(.*)$ ]] || continue
    value=${BASH_REMATCH[2]%%[[:space:]]#*}
    value=${value//[\"\'[:space:]]/}
  done <.env
  printf '%s' "$value"
}

# cpu_setting NAME: the same, which must be a list of CPUs.
cpu_setting() {
  local value
  value=$(setting "$1")
  expand "$value" || usage_error "$1=$value is no list of CPUs such as 2,3 or 2-5"
  printf '%s' "$value"
}

# planned_cores CPU…: the CPUs that the server pins of these, as plan() in src/cores/machine/topology.rs.
planned_cores() {
  local shards shard_cpus fanout ops cpu skipped=0
  local -a free=() taken=() chosen=()
  shard_cpus=$(cpu_setting CONNECTOR_SHARD_CPUS)
  fanout=$(cpu_setting CONNECTOR_FANOUT_CPU)
  ops=$(cpu_setting CONNECTOR_OPS_CPU)
  shards=$(setting CONNECTOR_SHARDS)
  [[ $shards =~ ^[0-9]{0,4}$ ]] || usage_error "CONNECTOR_SHARDS=$shards is no number of shards"
  expand "$shard_cpus"
  chosen=("${cpus[@]}")
  [ ${#chosen[@]} = 0 ] || shards=${#chosen[@]}
  [ -n "$shards" ] || shards=$(($# <= 3 ? 1 : $# >= 6 ? 4 : $# - 2))
  [ -n "$ops" ] || [ $# -lt $((shards + 2)) ] || ops=$1
  if [ ${#chosen[@]} = 0 ]; then
    for cpu in "$@"; do
      if [ "$cpu" = "$ops" ] || [ "$cpu" = "$fanout" ]; then taken+=("$cpu"); else free+=("$cpu"); fi
    done
    [ $# -gt 2 ] || [ ${#taken[@]} != 0 ] || skipped=$(($# > shards ? $# - shards : 0))
    chosen=("${free[@]}" "${taken[@]}")
    chosen=("${chosen[@]:skipped:shards}")
  fi
  if [ -z "$fanout" ]; then
    fanout=${chosen[-1]}
    for cpu in "$@"; do
      [ $# -le 2 ] || [ "$cpu" = "$ops" ] || [[ " ${chosen[*]} " == *" $cpu "* ]] || fanout=$cpu
    done
  fi
  compress "${chosen[@]}" "$fanout"
}

# choose_cores LIST: sets $online, $cores (those meant: LIST, else what the server would pin),
# $isolable (of them, those that the kernel can leave alone) and $others. Empty: cannot be read.
choose_cores() {
  local absent
  online='' cores=$1
  ! first_line /sys/devices/system/cpu/online || online=$line
  expand "$cores" || usage_error "--cores $cores: expected a list of CPUs such as 1-3 or 2,3"
  if [ -n "$online" ]; then
    expand "$online"
    [ -n "$cores" ] || cores=$(planned_cores "${cpus[@]}")
    absent=$(without "$cores" "$online")
    [ -z "$absent" ] || usage_error "CPU $absent is not among the CPUs of this host, $online (--cores, CONNECTOR_SHARD_CPUS, CONNECTOR_FANOUT_CPU)"
  fi
  cores=$(common "$cores" "$cores")
  isolable=$(without "$cores" 0)
  others=$(without "$online" "$cores")
}

# kernel_parameter NAME: its value on the kernel command line, in $line; fails if it is not there.
kernel_parameter() {
  local each found=1 value=
  first_line /proc/cmdline || return 1
  for each in $line; do
    [[ $each != "$1="* ]] || { found=0 value=${each#*=}; }
  done
  line=$value
  return "$found"
}

# isolated_cpus, nohz_cpus, nocb_cpus: what the kernel leaves alone, in $line; fail: cannot be read.
isolated_cpus() {
  local dynamic=
  ! first_line /sys/fs/cgroup/cpuset.cpus.isolated || dynamic=$line
  first_line /sys/devices/system/cpu/isolated || return 1
  line+=${line:+${dynamic:+,}}$dynamic
}
nohz_cpus() {
  first_line /sys/devices/system/cpu/nohz_full || return 1
  [ "$line" != "(null)" ] || line=
}
nocb_cpus() {
  first_line /proc/cmdline || return 1
  kernel_parameter rcu_nocbs || line=
  [ "$line" != all ] || line=$online
  expand "$line"
}

# sysctls: each line of our file as KEY VALUE.
sysctls() {
  local key equals value
  while read -r key equals value; do
    [ "$equals" != = ] || printf '%s %s\n' "${key#-}" "$value"
  done <"$here/sysctl.d/90-connector-wss.conf"
}
sysctl_path() { printf '/proc/sys/%s' "${1//./\/}"; }

# compare_sysctl KEY HOST WANTED: how the host's value compares: `better`, `same` or `worse`.
compare_sysctl() {
  local host=$2 wanted=$3
  case $1 in
    vm.swappiness | kernel.io_uring_disabled) host=$3 wanted=$2 ;;
  esac
  if [ "$host" -gt "$wanted" ]; then echo better; elif [ "$host" = "$wanted" ]; then echo same; else echo worse; fi
}

has_no_swap() { [ -r "$root/proc/swaps" ] && [ "$(wc -l <"$root/proc/swaps")" -le 1 ]; }

# limit NAME COLUMN: a limit of this process in $line: `unlimited` or a number; column 1 soft, 2 hard.
limit() {
  local -a words
  field /proc/self/limits "$1" || return 1
  read -r -a words <<<"$line"
  line=${words[$2 - 1]:-}
  [[ $line =~ ^([0-9]+|unlimited)$ ]]
}
clients_max() {
  local value
  value=$(setting CONNECTOR_WSS_CLIENTS_MAX)
  [[ $value =~ ^[0-9]{1,9}$ ]] || value=10000
  printf '%s' "$value"
}

# chosen_word TEXT: the word in brackets, as in `always [madvise] never`.
chosen_word() {
  if [[ $1 =~ \[([^]]*)\] ]]; then printf '%s' "${BASH_REMATCH[1]}"; else printf '%s' "$1"; fi
}

# deepest_idle CPU: the deepest idle state that it may take, in $line, empty if none is deeper than
# allowed; fails where the kernel tells no states.
deepest_idle() {
  local state latency name='' qos=0 deepest='' deepest_us=0 any=1
  ! first_line "/sys/devices/system/cpu/cpu$1/power/pm_qos_resume_latency_us" || qos=$line
  # 0 is no wish at all, n/a the wish for no exit latency.
  case $qos in 0) qos=2147483647 ;; n/a) qos=0 ;; esac
  for state in "$root/sys/devices/system/cpu/cpu$1/cpuidle"/state*; do
    state=${state#"$root"}
    first_line "$state/latency" && [[ $line =~ ^[0-9]+$ ]] || continue
    any=0 latency=$line
    first_line "$state/disable" && [ "$line" = 1 ] && continue
    [ "$latency" -le "$qos" ] && [ "$latency" -gt "$deepest_us" ] || continue
    first_line "$state/name" && name=$line
    deepest="$name ($latency µs)" deepest_us=$latency
  done
  line=
  [ "$deepest_us" -le "$idle_exit_us" ] || line=$deepest
  return "$any"
}

# irqs_on_cores: each interrupt in use that arrives on $cores, as NUMBER NAME; fails: cannot be read.
irqs_on_cores() {
  local folder name each any=1
  for folder in "$root"/proc/irq/[0-9]*; do
    name=
    for each in "$folder"/*/; do
      each=${each%/}
      [ ! -d "$each" ] || name=${each##*/}
    done
    folder=${folder#"$root"}
    first_line "$folder/effective_affinity_list" || first_line "$folder/smp_affinity_list" || continue
    any=0
    [ -n "$name" ] && on_cores "$line" || continue
    printf '%s %s\n' "${folder##*/}" "$name"
  done
  return "$any"
}

on_cores() {
  local cpu
  local -a arriving
  expand "$1" || return 1
  arriving=("${cpus[@]}")
  expand "$cores"
  for cpu in "${arriving[@]}"; do
    [[ " ${cpus[*]} " != *" $cpu "* ]] || return 0
  done
  return 1
}

# kernel_places NAME: whether the kernel itself places this interrupt, for ever: a queue of a disk.
kernel_places() { [[ $1 =~ ^nvme[0-9]+q[0-9]+$ ]]; }
# isolated_managed: whether those were told to keep away from isolated CPUs.
isolated_managed() { kernel_parameter isolcpus && [[ ,$line, == *,managed_irq,* ]]; }

# irqbalance_runs: whether it does; 2: there is no process to see.
irqbalance_runs() {
  local each code=2
  for each in "$root"/proc/[0-9]*/comm; do
    first_line "${each#"$root"}" || continue
    [ "$line" != irqbalance ] || return 0
    code=1
  done
  return "$code"
}

# irqbalance_reach: those of $cores that it may use, in $line.
irqbalance_reach() {
  local each banned='' spared=''
  for each in /etc/default/irqbalance /etc/sysconfig/irqbalance; do
    if field "$each" IRQBALANCE_BANNED_CPULIST=; then banned=${line//[\"\']/}; fi
  done
  # Without a list of its own it leaves isolated and tickless CPUs alone.
  ! isolated_cpus || spared=$line
  ! nohz_cpus || spared+=${line:+${spared:+,}$line}
  line=$(without "$cores" "${banned:-$spared}" || printf '%s' "$cores")
}

# nics: the network cards that are hardware.
nics() {
  local each
  for each in "$root"/sys/class/net/*; do
    [ ! -e "$each/device" ] || printf '%s\n' "${each##*/}"
  done
}

# ethtool_of ARGUMENT…: ethtool; fails where there is none.
ethtool_of() {
  local program=$root/usr/sbin/ethtool
  [ -n "$root" ] || program=$(command -v ethtool) || return 1
  [ -x "$program" ] && "$program" "$@" 2>/dev/null
}
has_ethtool() { if [ -n "$root" ]; then [ -x "$root/usr/sbin/ethtool" ]; else command -v ethtool >/dev/null; fi; }

# rx_ring NIC: its ring of received packets, in $ring_now and $ring_max; fails if it tells none.
rx_ring() {
  local each part=
  ring_now='' ring_max=''
  while IFS= read -r each; do
    case $each in
      Pre-set*) part=max ;;
      Current*) part=now ;;
      RX:*)
        [ "$part" != max ] || ring_max=${each//[!0-9]/}
        [ "$part" != now ] || ring_now=${each//[!0-9]/}
        ;;
    esac
  done < <(ethtool_of -g "$1" || true)
  [ -n "$ring_now" ] && [ -n "$ring_max" ]
}

# coalescing NIC: $adaptive (on, off or nothing) and $rx_usecs; fails if it tells none.
coalescing() {
  local each
  adaptive='' rx_usecs=''
  while IFS= read -r each; do
    [[ ! $each =~ ^Adaptive\ RX:[[:space:]]+(on|off) ]] || adaptive=${BASH_REMATCH[1]}
    [[ ! $each =~ ^rx-usecs:[[:space:]]+([0-9]+) ]] || rx_usecs=${BASH_REMATCH[1]}
  done < <(ethtool_of -c "$1" || true)
  [ -n "$rx_usecs" ]
}
coalesces_little() { [ "$adaptive" != on ] && [ "$rx_usecs" -le "$coalesce_us" ]; }
