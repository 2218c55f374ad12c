# What is done to the unit once systemd runs; each line of the output is one fact.
set -u
unit=rstmdb
say() { printf '%s: %s\n' "$1" "$2"; }
show() { systemctl show -P "$1" $unit; }
settled() { # waits until the unit is neither starting nor about to
    while case $(show ActiveState) in activating | reloading | deactivating) true ;; *) false ;; esac; do sleep 0.1; done
}
config() { printf '%s\n' "$1" >/etc/rstmdb/new && chgrp rstmdb /etc/rstmdb/new && chmod 0640 /etc/rstmdb/new && mv /etc/rstmdb/new /etc/rstmdb/rstmdb.yaml; }

install -d -m 0750 -g rstmdb /etc/rstmdb
config 'network: {bind_addr: "127.0.0.1:7401"}'
systemctl start $unit
say start $?
say state "$(show ActiveState)"
say status "$(show StatusText)"
say data "$(stat -c '%U %a' /var/lib/rstmdb)"
say socket "$(stat -c '%U %a' /run/rstmdb/control)"

config 'network: {bind_addr: "127.0.0.1:7401", max_subscriptions: 7}'
systemctl reload $unit
say reload $?
config 'auth: {required: true, secrets_file: ./tokens}'
systemctl reload $unit
say refused-reload $?
say state-after-refusal "$(show ActiveState)"
printf 'a:%064d\n' 0 >/etc/rstmdb/tokens
chgrp rstmdb /etc/rstmdb/tokens
chmod 0640 /etc/rstmdb/tokens
systemctl reload $unit
say tokens-beside-the-file $?
systemctl restart $unit
say restart $?

config 'auth: {required: true, secrets_file: ./no-such-file}'
systemctl restart $unit
say wrong-start $?
settled
say wrong-state "$(show ActiveState) $(show ExecMainStatus) restarts $(show NRestarts)"
rm /etc/rstmdb/rstmdb.yaml
systemctl reset-failed $unit
systemctl start $unit
settled
say no-file "$(show ActiveState) $(show ExecMainStatus) restarts $(show NRestarts)"

config 'storage: {data_dir: /var/lib/rstmdb}'
systemctl reset-failed $unit
systemctl start $unit
kill -9 "$(show MainPID)"
while [ "$(show NRestarts)" != 1 ] || [ "$(show ActiveState)" != active ]; do sleep 0.1; done
say killed "$(show ActiveState) restarts $(show NRestarts)"
systemctl stop $unit
say stopped "$(show ActiveState) $(show ExecMainStatus)"
journalctl --sync
say errors-in-the-journal "$(journalctl -u $unit -p err -o cat --no-pager | grep -c auth.secrets_file)"
say done 0
