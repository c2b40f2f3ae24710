#!/bin/sh
# An unprivileged bpftool on a machine of its own: maps, pins and programs in one batch each.
# usage: preload_bpftool_test.sh LIBSKEP_PRELOAD PROGRAM_OBJECT
set -u
preload=$1
object=$2

if ! command -v bpftool >/dev/null && ! [ -x /usr/sbin/bpftool ]; then
  echo "skipped: bpftool is missing"
  exit 77
fi
PATH=$PATH:/usr/sbin

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cp "$preload" "$folder/preload.so"
cp "$object" "$folder/program.o"
head -c 64 /dev/zero >"$folder/packet"
chmod -R a+rX "$folder"
# Whoever runs this as root runs bpftool as nobody.
as_nobody=
[ "$(id -u)" = 0 ] && as_nobody='setpriv --reuid=65534 --regid=65534 --clear-groups'

failures=0
# batch NAME <COMMANDS: the output goes to $folder/NAME
batch() {
  cat >"$folder/commands"
  chmod a+r "$folder/commands"
  if ! $as_nobody env LD_PRELOAD="$folder/preload.so" SKEP_CPUS=3 ${engine:+SKEP_ENGINE=$engine} \
    bpftool batch file "$folder/commands" >"$folder/$1" 2>&1; then
    echo "FAILED: batch $1"
    cat "$folder/$1"
    failures=$((failures + 1))
  fi
}
# expect NAME LINE: the output of a batch has this line
expect() {
  if ! grep -qxF -- "$2" "$folder/$1"; then
    echo "FAILED: batch $1 does not say: $2"
    cat "$folder/$1"
    failures=$((failures + 1))
  fi
}

batch hash <<END
map create /sys/fs/bpf/m type hash key 4 value 8 entries 16 name m
map update pinned /sys/fs/bpf/m key 1 0 0 0 value 1 2 3 4 5 6 7 8
map lookup pinned /sys/fs/bpf/m key 1 0 0 0
map dump pinned /sys/fs/bpf/m
map getnext pinned /sys/fs/bpf/m
map show
map delete pinned /sys/fs/bpf/m key 1 0 0 0
map dump name m
END
expect hash 'key: 01 00 00 00  value: 01 02 03 04 05 06 07 08'
expect hash 'Found 1 element'
expect hash '1: hash  name m  flags 0x0'
expect hash 'Found 0 elements'
expect hash 'processed 8 commands'

batch percpu <<END
map create /sys/fs/bpf/p type percpu_hash key 4 value 4 entries 16 name p
map update pinned /sys/fs/bpf/p key 1 0 0 0 value 9 8 7 6
map dump pinned /sys/fs/bpf/p
END
expect percpu 'value (CPU 00): 09 08 07 06'
expect percpu 'value (CPU 02): 09 08 07 06'

batch array <<END
map create /sys/fs/bpf/folder/a type array key 4 value 4 entries 2 name a
map update pinned /sys/fs/bpf/folder/a key 1 0 0 0 value 5 0 0 0
map dump pinned /sys/fs/bpf/folder/a
END
expect array 'key: 00 00 00 00  value: 00 00 00 00'
expect array 'key: 01 00 00 00  value: 05 00 00 00'

for engine in interp jit; do
  batch program_$engine <<END
prog load $folder/program.o /sys/fs/bpf/program
prog show
prog run pinned /sys/fs/bpf/program data_in $folder/packet repeat 3
map lookup name hits key 1 0 0 0
END
  grep -q 'xdp  name count  tag [0-9a-f]*  gpl' "$folder/program_$engine" || expect program_$engine 'xdp  name count'
  grep -q '^Return value: 1, duration' "$folder/program_$engine" || expect program_$engine 'Return value: 1'
  grep -q '"value": 15' "$folder/program_$engine" || expect program_$engine '"value": 15'
done
engine=

# Elsewhere than at /sys/fs/bpf, bpftool mounts a file system first.
batch mounted <<END
map create $folder/pins/m type array key 4 value 4 entries 1 name elsewhere
map show pinned $folder/pins/m
END
expect mounted '1: array  name elsewhere  flags 0x0'
[ -e "$folder/pins/m" ] && { echo "FAILED: a pin became a file"; failures=$((failures + 1)); }

# What cannot be is said.
if $as_nobody env LD_PRELOAD="$folder/preload.so" SKEP_CPUS=many bpftool map show >"$folder/bad" 2>&1; then
  echo "FAILED: SKEP_CPUS=many is accepted"
  failures=$((failures + 1))
fi
expect bad "skep: SKEP_CPUS: 'many' is not a number"

# And the library does nothing to a program that has nothing to do with BPF.
out=$(echo hello | LD_PRELOAD="$folder/preload.so" cat)
[ "$out" = hello ] || { echo "FAILED: cat"; failures=$((failures + 1)); }

[ "$failures" = 0 ]
