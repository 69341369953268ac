#!/usr/bin/env bash
# Sets what check.sh recommends and what can be set while the host runs, and takes it back.
set -euo pipefail
# shellcheck source=tuning/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
  cat <<'TEXT'
usage: tuning/apply.sh [--cores LIST] [--state FILE] [--dry-run] [--undo]

Prints each change as `what: old -> new`. What is as it should be already is left alone. What needs
the kernel command line, or takes something from others, is printed and not done.

  --cores LIST  the CPUs that the server pins, such as 1-3; default: as check.sh
  --state FILE  where the old values are kept; default: /var/lib/connector-wss/tuning.state
  --dry-run     only prints
  --undo        gives the old values back, and forgets them

Files are installed as /etc/sysctl.d/90-connector-wss.conf and
/etc/security/limits.d/90-connector-wss.conf; everything else lasts until the next boot.
TUNING_ROOT: a folder below which /sys, /proc, /etc and /var are looked for; with it no root is needed.

Exit code: 0 done; 1 the kernel refused something; 64 wrong usage; 77 not root.
TEXT
}

dry=0
undo=0
wanted_cores=
state=$root/var/lib/connector-wss/tuning.state
while [ $# -gt 0 ]; do
  case $1 in
    --cores | --state)
      [ -n "${2:-}" ] || usage_error "$1 needs a value; see --help"
      if [ "$1" = --cores ]; then wanted_cores=$2; else state=$2; fi
      shift
      ;;
    --cores=?*) wanted_cores=${1#*=} ;;
    --state=?*) state=${1#*=} ;;
    --dry-run) dry=1 ;;
    --undo) undo=1 ;;
    -h | --help)
      usage
      exit 0
      ;;
    *) usage_error "unknown argument $1; see --help" ;;
  esac
  shift
done

if [ "$dry" = 0 ] && [ -z "$root" ] && [ "$EUID" != 0 ]; then
  echo "${0##*/}: only root may change this host; run it with sudo, or see what it would do with --dry-run" >&2
  exit 77
fi

first_line /proc/sys/kernel/random/boot_id || line=unknown
boot=$line
changed=0
refused=0

# The state: one line for each thing changed, KIND, BOOT, PATH and OLD between tabs, oldest first.
# KIND: `value` a file of the kernel; `word` one that shows all words and the chosen in brackets;
# `file` a file of ours, OLD in base64 or `absent`; `folder` one that was not there; `nic` coalescing.
# BOOT: the boot that the old value belongs to, or `-` if it outlives a boot.

# remember KIND BOOT PATH OLD: before the change, and only the first time.
remember() {
  local kind each_boot path old
  if [ -f "$state" ]; then
    while IFS=$'\t' read -r kind each_boot path old; do
      [ "$kind $path" != "$1 $3" ] || return 0
    done <"$state"
  fi
  printf '%s\t%s\t%s\t%s\n' "$@" >>"$state"
}

# forget_older_boots: what lasted until the boot is as it was before.
forget_older_boots() {
  local kind each_boot path old text=
  [ -f "$state" ] || return 0
  while IFS=$'\t' read -r kind each_boot path old; do
    case $each_boot in
      - | "$boot") text+=$kind$'\t'$each_boot$'\t'$path$'\t'$old$'\n' ;;
    esac
  done <"$state"
  printf '%s' "$text" >"$state.new"
  mv "$state.new" "$state"
}

# say WHAT OLD NEW
say() { printf '%s: %s -> %s\n' "$1" "$2" "$3"; }

say_refused() {
  refused=$((refused + 1))
  printf '%s: refused by the kernel\n' "$1"
}

# put KIND PATH VALUE: writes a file of the kernel.
put() {
  local text=$3 words
  if [ "$1" = word ] && [ -n "$root" ]; then
    # No kernel answers below TUNING_ROOT: what it would show.
    first_line "$2" && words=" ${line//[\[\]]/} "
    text=${words/ $3 / [$3] }
    text=${text# } text=${text% }
  fi
  { printf '%s\n' "$text" >"$root$2"; } 2>/dev/null
}

# change KIND BOOT WHAT PATH NEW: sets a file of the kernel, if it is there and differs.
change() {
  local old
  first_line "$4" || return 0
  old=$line
  [ "$1" != word ] || old=$(chosen_word "$line")
  [ "$old" != "$5" ] || return 0
  say "$3" "$old" "$5"
  changed=$((changed + 1))
  [ "$dry" = 0 ] || return 0
  remember "$1" "$2" "$4" "$old"
  put "$1" "$4" "$5" || say_refused "$3"
}

# make_folder PATH: with those above it, each of which is remembered.
make_folder() {
  [ ! -d "$1" ] || return 0
  make_folder "$(dirname "$1")"
  mkdir "$1"
  made+=("$1")
}

# install_file PATH CONTENT: CONTENT without its last line's end.
install_file() {
  local path=$1 old=absent each
  local -a made=()
  if [ -f "$root$path" ]; then
    [ "$(cat "$root$path")" != "$2" ] || return 0
    old=$(base64 -w0 "$root$path")
  fi
  say "$path" "$([ "$old" = absent ] && echo absent || echo "another version")" installed
  changed=$((changed + 1))
  [ "$dry" = 0 ] || return 0
  make_folder "$(dirname "$root$path")"
  for each in "${made[@]}"; do remember folder - "${each#"$root"}" -; done
  remember file - "$path" "$old"
  printf '%s\n' "$2" >"$root$path"
}

# sysctl_content: our file, without the lines that would make the host worse.
sysctl_content() {
  local each key equals value
  while IFS= read -r each; do
    read -r key equals value <<<"$each"
    if [ "$equals" = = ] && first_line "$(sysctl_path "${key#-}")" &&
      [ "$(compare_sysctl "${key#-}" "$line" "$value")" = better ]; then
      each="# $each (the host had $line)"
    fi
    printf '%s\n' "$each"
  done <"$here/sysctl.d/90-connector-wss.conf"
}

# limits_content: the same for limits.
limits_content() {
  local each item value
  while IFS= read -r each; do
    read -r _ _ item value <<<"$each"
    case $each:$item in
      \#*) ;;
      *:nofile) limit "Max open files" 2 && each=$(unless_higher "$each" "$line" "$value") ;;
      *:memlock) limit "Max locked memory" 1 && each=$(unless_higher "$each" "$line" $((value * 1024))) ;;
    esac
    printf '%s\n' "$each"
  done <"$here/limits.d/90-connector-wss.conf"
}
# unless_higher LINE HOST WANTED
unless_higher() {
  if [ "$2" = unlimited ] || [ "$2" -gt "$3" ]; then echo "# $1 (the host had $2)"; else echo "$1"; fi
}

apply_sysctls() {
  local key value
  while read -r key value; do
    first_line "$(sysctl_path "$key")" || continue
    [[ $line =~ ^[0-9]+$ ]] || continue
    [ "$key" != vm.swappiness ] || ! has_no_swap || continue
    [ "$(compare_sysctl "$key" "$line" "$value")" = worse ] || continue
    change value - "$key" "$(sysctl_path "$key")" "$value"
  done < <(sysctls)
}

apply_cores() {
  local cpu folder
  expand "$cores"
  for cpu in "${cpus[@]}"; do
    folder=/sys/devices/system/cpu/cpu$cpu
    if first_line "$folder/cpufreq/scaling_available_governors" && [[ " $line " == *" performance "* ]]; then
      change value "$boot" "governor of CPU $cpu" "$folder/cpufreq/scaling_governor" performance
    fi
    if deepest_idle "$cpu" && [ -n "$line" ]; then
      change value "$boot" "longest exit from idle of CPU $cpu, µs (0: any)" "$folder/power/pm_qos_resume_latency_us" "$idle_exit_us"
    fi
  done
}

apply_irqs() {
  local number name list
  [ -n "$cores" ] && [ -n "$others" ] || return 0
  list=$(irqs_on_cores) || return 0
  while read -r number name; do
    [ -n "$number" ] || continue
    ! kernel_places "$name" || continue
    change value "$boot" "interrupt $number ($name)" "/proc/irq/$number/smp_affinity_list" "$others"
  done <<<"$list"
}

apply_thp() {
  first_line /sys/kernel/mm/transparent_hugepage/enabled || return 0
  [ "$(chosen_word "$line")" = always ] || return 0
  change word "$boot" "transparent huge pages" /sys/kernel/mm/transparent_hugepage/enabled madvise
}

apply_clock() {
  local folder=/sys/devices/system/clocksource/clocksource0
  first_line $folder/available_clocksource && [[ " $line " == *" tsc "* ]] || return 0
  change value "$boot" "clock source" $folder/current_clocksource tsc
}

apply_coalescing() {
  local nic off
  has_ethtool || return 0
  for nic in $(nics); do
    coalescing "$nic" || continue
    ! coalesces_little || continue
    # Empty where the card has no such switch.
    off=${adaptive:+off}
    say "coalescing of $nic" "adaptive-rx ${adaptive:-not offered}, rx-usecs $rx_usecs" "adaptive-rx ${off:-not offered}, rx-usecs 0"
    changed=$((changed + 1))
    [ "$dry" = 0 ] || continue
    remember nic "$boot" "$nic" "${adaptive:--} $rx_usecs"
    set_coalescing "$nic" "$off" 0 || say_refused "coalescing of $nic"
  done
}
# set_coalescing NIC ADAPTIVE RX_USECS: ADAPTIVE empty: the NIC has no such switch.
set_coalescing() { ethtool_of -C "$1" ${2:+adaptive-rx "$2"} rx-usecs "$3"; }

print_rest() {
  local parameters='' nic
  if [ -n "$isolable" ]; then
    ! isolated_cpus || [ -z "$(without "$isolable" "$line")" ] || parameters+=" isolcpus=managed_irq,domain,$isolable irqaffinity=$others"
    if nohz_cpus && [ -n "$(without "$isolable" "$line")" ]; then
      parameters+=" nohz_full=$isolable rcu_nocbs=$isolable"
    elif ! nohz_cpus && nocb_cpus && [ -n "$(without "$isolable" "$line")" ]; then
      parameters+=" rcu_nocbs=$isolable"
    fi
  fi
  [ -z "$parameters" ] ||
    echo "not done, only on the kernel command line (tuning/kernel-command-line.md):$parameters"
  if irqbalance_runs && irqbalance_reach && [ -n "$line" ]; then
    echo "not done, concerns all of the host: keep irqbalance off CPU $line (tuning/check.sh says how), or it moves interrupts back"
  fi
  has_ethtool || return 0
  for nic in $(nics); do
    ! rx_ring "$nic" || [ "$ring_now" -ge "$ring_max" ] ||
      echo "not done, resets the link with many drivers; only if packets are lost: ethtool -G $nic rx $ring_max"
  done
}

# undo_one KIND BOOT PATH OLD
undo_one() {
  local now=absent
  if [ "$2" != - ] && [ "$2" != "$boot" ]; then
    echo "$3: left alone, the boot took it back already"
    return 0
  fi
  case $1 in
    value | word)
      first_line "$3" || return 0
      now=$line
      [ "$1" != word ] || now=$(chosen_word "$line")
      [ "$now" != "$4" ] || return 0
      say "$3" "$now" "$4"
      [ "$dry" = 1 ] || put "$1" "$3" "$4" || { say_refused "$3"; return 1; }
      ;;
    file)
      [ ! -f "$root$3" ] || now=installed
      say "$3" "$now" "$([ "$4" = absent ] && echo absent || echo "the version before")"
      [ "$dry" = 0 ] || return 0
      if [ "$4" = absent ]; then rm -f "$root$3"; else base64 -d <<<"$4" >"$root$3"; fi
      ;;
    folder) [ "$dry" = 1 ] || rmdir --ignore-fail-on-non-empty "$root$3" 2>/dev/null || true ;;
    nic)
      coalescing "$3" || return 0
      [ "${adaptive:--} $rx_usecs" != "$4" ] || return 0
      say "coalescing of $3" "adaptive-rx ${adaptive:-not offered}, rx-usecs $rx_usecs" "adaptive-rx ${4% *}, rx-usecs ${4#* }"
      now=${4% *}
      [ "$dry" = 1 ] || set_coalescing "$3" "${now#-}" "${4#* }" || { say_refused "coalescing of $3"; return 1; }
      ;;
    *) echo "$state: a line of kind $1 is not understood" >&2 && return 1 ;;
  esac
}

undo_all() {
  local -a lines=() kept=()
  local kind each_boot path old at folder
  if [ ! -f "$state" ]; then
    echo "nothing to undo: there is no $state"
    return
  fi
  mapfile -t lines <"$state"
  # The newest first: a folder after what is in it.
  for ((at = ${#lines[@]} - 1; at >= 0; at--)); do
    IFS=$'\t' read -r kind each_boot path old <<<"${lines[at]}"
    undo_one "$kind" "$each_boot" "$path" "$old" || kept=("${lines[at]}" "${kept[@]}")
  done
  [ "$dry" = 0 ] || return 0
  if [ ${#kept[@]} != 0 ]; then
    printf '%s\n' "${kept[@]}" >"$state"
    return
  fi
  rm "$state"
  folder=$root/var/lib/connector-wss
  [ "$state" != "$folder/tuning.state" ] || rmdir --ignore-fail-on-non-empty "$folder" 2>/dev/null || true
}

if [ "$undo" = 1 ]; then
  undo_all
  [ "$refused" = 0 ] || exit 1
  exit 0
fi

choose_cores "$wanted_cores"
if [ "$dry" = 0 ]; then
  mkdir -p "$(dirname "$state")"
  forget_older_boots
fi
# The files first: they are made of what the host had.
install_file "$sysctl_file" "$(sysctl_content)"
install_file "$limits_file" "$(limits_content)"
apply_sysctls
apply_cores
apply_irqs
apply_thp
apply_clock
apply_coalescing
print_rest
if [ "$changed" = 0 ]; then
  echo "nothing to change (cores ${cores:-unknown})"
elif [ "$dry" = 1 ]; then
  echo "$changed changes, none made (cores ${cores:-unknown})"
else
  echo "$changed changes (cores ${cores:-unknown}); taken back by --undo"
fi
[ "$refused" = 0 ] || exit 1
