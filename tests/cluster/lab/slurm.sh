#!/bin/bash
# A real Slurm on one machine: nodes n1 and n2 with two GPU slots each, from Debian's own packages. Run as root.
#
#   slurm.sh              install (once), configure and start it
#   slurm.sh user NAME    make an ordinary user who may submit jobs and build images
#   slurm.sh stop         stop what was started, and wait for its end
#
# LAB_MAX_ARRAY=5       MaxArraySize, so that tests see arrays being split
# LAB_ACCOUNTING=1      start slurmdbd on MariaDB too, so that sacct works
set -euo pipefail

lab=/var/lib/slurm-lab
max_array=${LAB_MAX_ARRAY:-1001}
accounting=${LAB_ACCOUNTING:-0}

alive() { [ -e "$1" ] && kill -0 "$(cat "$1")" 2>/dev/null; }

# Ended or a zombie: in a container nobody may collect what init's children leave.
ended() { ! grep -qs '^State:[[:space:]]*[^Z]' "/proc/$1/status"; }

stop() {
  local file pids=()
  for file in "$lab"/run/*.pid; do
    [ -s "$file" ] || continue
    pids+=("$(cat "$file")")
    kill "${pids[-1]}" 2>/dev/null || true
    rm -f "$file"
  done
  for _ in $(seq 100); do
    for pid in "${pids[@]}"; do ended "$pid" || { sleep .1; continue 2; }; done
    return
  done
  echo "slurm.sh: still running after 10 s: ${pids[*]}" >&2
}

add_user() {
  id "$1" >/dev/null 2>&1 || useradd -m -s /bin/bash "$1"
  # Subordinate ids: `apptainer build --fakeroot` needs them.
  grep -q "^$1:" /etc/subuid || usermod --add-subuids 200000-265535 --add-subgids 200000-265535 "$1"
}

install() {
  export DEBIAN_FRONTEND=noninteractive
  local packages=()
  command -v slurmctld >/dev/null || packages+=(slurmctld slurmd slurm-client munge)
  if [ "$accounting" != 0 ] && ! { command -v slurmdbd && command -v mariadbd; } >/dev/null; then
    packages+=(slurmdbd mariadb-server)
  fi
  [ "${#packages[@]}" -gt 0 ] || return 0
  apt-get update -qq
  apt-get install -y -qq "${packages[@]}" >/dev/null
}

configure() {
  local host memory storage
  host=$(hostname -s)
  memory=$(( $(free -m | awk '/^Mem:/{print $2}') / 2 ))
  storage="AccountingStorageType=accounting_storage/none"
  if [ "$accounting" != 0 ]; then
    storage="AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=16819
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=5"
  fi
  mkdir -p "$lab"/{run,ctld,n1,n2,log} /etc/slurm /run/munge
  chown munge:munge /run/munge
  # The GPU slots are copies of /dev/null: Slurm hands them out and sets CUDA_VISIBLE_DEVICES as for cards.
  for i in 0 1 2 3; do [ -e /dev/labgpu$i ] || mknod -m 666 /dev/labgpu$i c 1 3; done
  # cred_expire: a requeued job starts again after 12 s instead of 121 s.
  # Jobs in `urgent` preempt those in `main`, which are requeued.
  cat >/etc/slurm/slurm.conf <<EOF
ClusterName=lab
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=cred_expire=10
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
SlurmctldPidFile=$lab/run/slurmctld.pid
SlurmdPidFile=$lab/run/slurmd-%n.pid
StateSaveLocation=$lab/ctld
SlurmdSpoolDir=$lab/%n
SlurmctldLogFile=$lab/log/slurmctld.log
SlurmdLogFile=$lab/log/slurmd-%n.log
SlurmctldPort=16817
GresTypes=gpu
KillWait=5
MaxArraySize=$max_array
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
$storage
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=16821 CPUs=8 RealMemory=$memory Gres=gpu:lab:2
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=16822 CPUs=8 RealMemory=$memory Gres=gpu:lab:2
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=20
PartitionName=urgent Nodes=n1,n2 MaxTime=INFINITE State=UP PriorityTier=100 PreemptMode=OFF
EOF
  cat >/etc/slurm/gres.conf <<EOF
NodeName=n1 Name=gpu Type=lab File=/dev/labgpu[0-1]
NodeName=n2 Name=gpu Type=lab File=/dev/labgpu[2-3]
EOF
  if [ ! -e /etc/munge/munge.key ]; then
    (umask 077; head -c 1024 /dev/urandom >/etc/munge/munge.key)
    chown munge:munge /etc/munge/munge.key
  fi
}

start_accounting() {
  local db=$lab/mariadb
  mkdir -p "$db"
  chown -R mysql:mysql "$db"
  [ -d "$db/mysql" ] ||
    mariadb-install-db --user=mysql --datadir="$db" --auth-root-authentication-method=socket >/dev/null 2>&1
  if ! alive "$lab/run/mariadb.pid"; then
    mariadbd --no-defaults --user=mysql --datadir="$db" --socket="$db/s.sock" --skip-networking \
      --pid-file="$db/mariadb.pid" >"$lab/log/mariadb.log" 2>&1 </dev/null &
    for _ in $(seq 60); do
      mariadb --socket="$db/s.sock" -e 'create database if not exists slurm_acct_db' 2>/dev/null && break
      sleep .5
    done
    ln -sf "$db/mariadb.pid" "$lab/run/mariadb.pid"
  fi
  (umask 077; cat >/etc/slurm/slurmdbd.conf) <<EOF
AuthType=auth/munge
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=16819
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm_acct_db
PidFile=$lab/run/slurmdbd.pid
LogFile=$lab/log/slurmdbd.log
EOF
  alive "$lab/run/slurmdbd.pid" || MYSQL_UNIX_PORT=$db/s.sock /usr/sbin/slurmdbd
  for _ in $(seq 40); do sacctmgr -n show cluster >/dev/null 2>&1 && break; sleep .5; done
  sacctmgr -n show cluster lab format=cluster | grep -q lab || sacctmgr -i add cluster lab >/dev/null
}

start() {
  install
  configure
  alive /run/munge/munged.pid || runuser -u munge -- /usr/sbin/munged
  [ "$accounting" = 0 ] || start_accounting
  alive "$lab/run/slurmctld.pid" || /usr/sbin/slurmctld
  for node in n1 n2; do alive "$lab/run/slurmd-$node.pid" || /usr/sbin/slurmd -N $node; done
  for _ in $(seq 80); do
    # A node that Slurm drained, over a process that it could not end, is used again.
    for node in $(sinfo -h -N -p main -t drain -o %N 2>/dev/null); do scontrol update nodename="$node" state=resume; done
    [ "$(sinfo -h -N -p main -o '%t' 2>/dev/null | grep -cE '^(idle|mix|alloc)$')" = 2 ] && break
    sleep .25
  done
  sinfo -N -p main -o '%N %t %c %m %G'
  [ "$(sinfo -h -N -p main -o '%t' | grep -cE '^(idle|mix|alloc)$')" = 2 ] ||
    { echo "slurm.sh: the nodes did not become ready in 20 s: read $lab/log" >&2; exit 1; }
}

case "${1:-start}" in
  start) start ;;
  user) add_user "${2:?slurm.sh user NAME}" ;;
  stop) stop ;;
  *) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
