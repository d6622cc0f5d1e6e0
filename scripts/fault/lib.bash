# What all fault scripts share; sourced by each. docs/drills.md describes them.
#
# A fault is two lists of shell commands, inflict and undo, and an id: the thing
# that is struck, such as link-eth0. For as long as it lasts there is a directory
# /run/storebeat-fault/ID with a program "undo" in it. Three run that program: the
# script when its time is up or a signal comes, a timer that was armed before the
# fault began and lives outside the script, and "undo" on the command line.
# Whoever is first removes the directory, and the others find nothing to do. A token
# in it tells this fault from a later one of the same id, which is not theirs to undo.
#
# A lock is held from before the timer is armed until the fault is complete. So
# nothing is inflicted after it was undone: a timer that runs out first waits.
#
# All of it lies in /run, and what is inflicted lives in the kernel's memory: after
# a reboot there is neither a fault nor anything that would undo one.
# shellcheck shell=bash

PATH=$PATH:/usr/sbin:/sbin # of nft, ip and fsfreeze, which "su" leaves out

readonly faults=/run/storebeat-fault
readonly longest=3600 # seconds that a fault may last
readonly late=3       # seconds after its end that the timer waits for the script
readonly self=${0##*/}

# The program; on hosts where it is not in the PATH the environment names it.
readonly storebeat=${STOREBEAT:-storebeat}

# Exit codes are those of storebeat (docs/cli.md).
readonly failed=1 senseless=2 absent=3 unknown=4 refused=5

seconds=
dry_run=
force=
yes=
began=  # events are shown since then
token=  # of this fault
id=     # of the fault
struck= # something may have been done
inflict=()
undo=()

say() { printf '%s\n' "$*"; }
warn() { printf '%s: %s\n' "$self" "$*" >&2; }
end() { # STATUS MESSAGE…
	local status=$1
	shift
	warn "$@"
	exit "$status"
}

# words prints a command so that a shell reads the same words again.
words() {
	local line
	printf -v line '%q ' "$@"
	printf '%s' "${line% }"
}

common_options() {
	cat <<END
Options of every fault:
  --for SECONDS   how long it lasts, 1 to $longest; there is no default
  --dry-run       say what would be run, and do nothing
  --force         go on although fewer than two other hosts are live
  --help

It undoes itself when the time is up, on Ctrl-C, SIGTERM and SIGHUP, and by a timer of
its own $late s later if this script is killed. "undo" beside this script undoes all at once.
The page docs/drills.md of Storebeat tells more.
END
}

# parse reads the command line. What is not an option of every fault is handed to
# the script's own function "option", which sets taken to the number of words it used.
parse() {
	while (($#)); do
		if [[ $1 == --*=* ]]; then
			set -- "${1%%=*}" "${1#*=}" "${@:2}"
		fi
		case $1 in
		--help | -h)
			usage
			exit 0
			;;
		--for)
			needs_value "$@"
			seconds=$2
			shift 2
			;;
		--dry-run) dry_run=1 && shift ;;
		--force) force=1 && shift ;;
		*)
			taken=0
			option "$@"
			((taken > 0)) || end $senseless "$1 means nothing here; $self --help tells what does"
			shift "$taken"
			;;
		esac
	done
	check_duration
	began=$(date -u +%Y-%m-%dT%H:%M:%SZ)
	[[ $dry_run || $EUID == 0 ]] || end $refused 'run it as root; --dry-run needs no root'
	needs_program jq jq
	needs_program "$storebeat" storebeat
}

needs_value() { # OPTION VALUE
	[[ -n ${2-} ]] || end $senseless "$1 needs a value; $self --help tells which"
}

check_duration() {
	[[ -n $seconds ]] || end $senseless "say how long it shall last: --for SECONDS, 1 to $longest"
	if ! [[ $seconds =~ ^[1-9][0-9]{0,3}$ ]] || ((seconds > longest)); then
		end $senseless "--for $seconds: give whole seconds, 1 to $longest"
	fi
}

needs_program() { # PROGRAM PACKAGE
	command -v "$1" >/dev/null || end $failed "there is no $1 here; install the package $2"
}

# What the agent says

ask() { timeout 30 "$storebeat" "$@"; }

# look asks the agent for all that the scripts go by. Without an agent only --force goes on.
look() {
	if status=$(ask status --local -o json) && hosts=$(ask host list -o json) && machines=$(ask vm list -o json); then
		host_name=$(jq -r .name <<<"$status")
		host_id=$(jq -r .host <<<"$status")
		lease=$(in_seconds .timing.lease)
		takeover=$(in_seconds .timing.takeover)
		return
	fi
	[[ $force ]] || end $absent 'the agent of this host does not say which hosts are live; --force goes on all the same'
	warn 'warning: the agent of this host does not say which hosts are live; going on because of --force'
	status='{}' hosts='[]' machines='' host_name=$(uname -n) host_id=0 lease='the lease' takeover='the takeover time'
}

in_seconds() { jq -r "$1 / 1e9 | tostring + \" s\"" <<<"$status"; }

# needs_others refuses when this host's machines might find no other host, and the
# cluster no majority to speak of.
needs_others() {
	local live
	live=$(jq -r --arg self "$host_name" '[.[] | select(.name != $self and .state == "live") | .name] | join(", ")' <<<"$hosts")
	[[ $live != *,* ]] || return 0
	if [[ $force ]]; then
		warn "warning: fewer than two other hosts are live (${live:-none}); going on because of --force"
		return
	fi
	end $refused "fewer than two other hosts are live (${live:-none}); mend them first, or add --force"
}

# responses says what becomes of this host's machines when it is isolated, by their policies.
responses() {
	local given_up
	given_up=$(jq -r --arg self "$host_name" \
		'[.[] | select(.host_name == $self and .policy.isolation != "leave") | "\(.name) (\(.policy.isolation))"] | join(", ")' <<<"$machines")
	if [[ ! $machines ]]; then
		say "Isolated, it does with each of its machines what the machine's policy says (storebeat vm show)."
	elif [[ $given_up ]]; then
		say 'Isolated, it ends these machines, as their policies say, and they start elsewhere:'
		say "$given_up. The others run on here."
	else
		say 'Isolated, it leaves all its machines running, as their policies say.'
	fi
}

# machine_cgroup prints the cgroup of a machine that runs here (docs/architecture.md).
machine_cgroup() { # UUID
	local found
	while read -r found; do
		if [[ -e $found/cgroup.freeze ]] && grep -qx 'populated 1' "$found/cgroup.events"; then
			printf '%s\n' "$found"
			return
		fi
	done < <(find /sys/fs/cgroup -type d -name "storebeat-$host_id-$1-*" 2>/dev/null)
	return 1
}

# lose_packets is the fault of a table of nftables with these rules, in chains "out"
# and "in". The table comes and goes as a whole.
lose_packets() { # TABLE RULES
	inflict=("nft 'add table inet $1
add chain inet $1 out { type filter hook output priority -300; }
add chain inet $1 in { type filter hook input priority -300; }
$2'")
	undo=("nft 'add table inet $1; delete table inet $1'")
}

# The fault

# run does it all: what is to come, the fault, its end, and what Storebeat reported.
run() {
	say "$self on $host_name for $seconds s. What to expect:"
	expect | sed 's/^/  /'
	if [[ $dry_run ]]; then
		tell_commands
		return
	fi
	directory=$faults/$id
	arm
	strike
	pass
	settle
	report
}

tell_commands() {
	say 'It would run, with a timer that undoes it if this script dies:'
	printf '%s\n' "${inflict[@]}" | sed 's/^/  /'
	if ((${#undo[@]})); then
		say "After $seconds s:"
		printf '%s\n' "${undo[@]}" | sed 's/^/  /'
	else
		say 'There is nothing to undo.'
	fi
}

uptime_seconds() { local up _ && read -r up _ </proc/uptime && printf '%s' "${up%.*}"; }

# lasts reports whether the fault was undone by nobody yet.
lasts() { [[ -e $directory/undo && $(cat "$directory/token" 2>/dev/null) == "$token" ]]; }

# arm writes the undo program and has it run in any case, before anything is done.
arm() {
	install -d -m 0700 "$faults"
	exec 9>"$directory.lock"
	flock --wait 30 9 || end $refused "$id is being struck or undone by somebody else"
	clear_leftovers
	mkdir "$directory"
	deadline=$(($(uptime_seconds) + seconds))
	token=$(</proc/sys/kernel/random/uuid)
	echo "$token" >"$directory/token"
	undo_program >"$directory/undo.new"
	chmod 0700 "$directory/undo.new"
	trap finish EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
	mv "$directory/undo.new" "$directory/undo"
	arm_timer 9>&-
}

# clear_leftovers removes what a script has left that was killed before it had done
# anything. While a fault lasts, or could not be undone, another on the same thing is refused.
clear_leftovers() {
	[[ ! -e $directory/undo ]] ||
		end $refused "$id is struck already; wait for its end, or end it: $(dirname "$(readlink -f "$0")")/undo $id"
	rm -rf "$directory"
}

# undo_program prints the program that undoes the fault. It is complete in itself.
# With --late it waits until the script has had its time, and tries again when it fails.
undo_program() {
	cat <<END
#!/bin/bash
# Undoes the fault $id, once or any number of times.
PATH=\$PATH:/usr/sbin:/sbin
directory=$directory
token=$token
$(declare -f lasts)
attempt() (
	flock 9
	lasts || exit 0
	wrong=0
END
	printf '\t{ %s\n\t} 9>&- || wrong=1\n' "${undo[@]:-:}"
	cat <<END
	((wrong)) || rm -rf "\$directory"
	exit \$wrong
) 9>"\$directory.lock"
early() { local up _ && read -r up _ </proc/uptime && ((\${up%.*} < $((deadline + late)))); }
main() {
	local left=1
	if [[ \${1-} == --late ]]; then
		left=600
		while lasts && early; do sleep 1; done
	fi
	until attempt; do
		((--left > 0)) || { echo "$id could not be undone; what is in \$directory/undo is left to do" >&2; exit 1; }
		sleep 1
	done
	exit 0
}
main "\$@"
END
}

# arm_timer has the undo program run by something that outlives this script, its
# terminal and its session: systemd, or else a process with a session of its own.
arm_timer() {
	if [[ -d /run/systemd/system ]]; then
		systemd-run --quiet --collect --unit="storebeat-fault-$$" --property=KillMode=process \
			--on-active="$((seconds + late))s" --timer-property=AccuracySec=100ms "$directory/undo" --late
		return
	fi
	setsid --fork "$directory/undo" --late </dev/null >"$directory/log" 2>&1
}

# strike inflicts the fault. The lock is held since the timer was armed, so that an
# undo program waits for the end of what is being done.
strike() {
	local command
	(($(uptime_seconds) < deadline)) || end $failed 'its time was over before it began; nothing was done'
	say "$(date +%T) it begins"
	struck=1
	for command in "${inflict[@]}"; do
		eval "$command" || end $failed "this went wrong, so the rest is undone: $command"
	done
	exec 9>&-
}

# pass waits for the end, or until somebody else has undone the fault.
pass() {
	local left
	while lasts; do
		left=$((deadline - $(uptime_seconds)))
		((left > 0)) || return 0
		((left % 10)) || say "$(date +%T) $left s to go"
		sleep 1 &
		wait $! # unlike sleep itself, it ends at once when a signal comes
	done
	say "$(date +%T) somebody else has ended it"
}

# finish runs at every end of the script but SIGKILL.
finish() {
	local code=$?
	trap '' HUP INT TERM
	trap - EXIT
	settle || code=$failed
	((code == 0)) || [[ ! $struck ]] || warn "what Storebeat reported: $storebeat events --cluster --since $began"
	exit "$code"
}

settle() {
	[[ $struck ]] || { lasts && rm -rf "$directory"; } || true
	exec 9>&-
	if lasts; then
		if ! "$directory/undo"; then
			warn 'the timer goes on trying for ten minutes'
			return 1
		fi
		if ((${#undo[@]})); then say "$(date +%T) it is undone"; else say "$(date +%T) it is over"; fi
	fi
	if [[ -d /run/systemd/system ]]; then
		systemctl --quiet stop "storebeat-fault-$$.timer" 2>/dev/null || true # it may have run out
	fi
}

# report waits until as many hosts are live and the same machines run as before, says if
# they don't, and shows what the hosts that answer have written down since the beginning.
report() {
	local patience=$((SECONDS + 30)) before now text
	before=$(picture "$hosts" "$machines")
	while :; do
		now=$(picture "$(ask host list -o json 2>/dev/null)" "$(ask vm list -o json 2>/dev/null)")
		if [[ $now == "$before" ]] || ((SECONDS >= patience)); then
			break
		fi
		sleep 1
	done
	text=$(ask events --cluster --since "$began" --limit 200) ||
		end $failed 'it is over, and the agent does not say what happened'
	say
	say "What Storebeat reported since $began:"
	say "${text:-nothing}"
	if [[ $now != "$before" ]]; then
		printf '\nNot all is as before, 30 s after the end. It was\n%s\nand is\n%s\nLook at it: %s status; %s explain vm NAME\n' "$before" "$now" "$storebeat" "$storebeat"
	fi
}

# picture prints which hosts are live and which machines run.
picture() { # HOSTS MACHINES
	jq -r '[.[] | select(.state == "live") | .name] | sort | "  live: \(join(" "))"' <<<"$1"
	jq -r '[.[] | select(.state == "running") | .name] | sort | "  running: \(join(" "))"' <<<"$2"
}
