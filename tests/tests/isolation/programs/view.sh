# I3: what can be seen and changed of the machine. Arguments: files, folders and sockets that must be out of reach.
tried=0
for path; do
    tried=$((tried + 1))
    if cat "$path" >/dev/null 2>&1; then echo "read $path"; fi
    if ls "$path/" >/dev/null 2>&1; then echo "listed $path"; fi
    if : 2>/dev/null >>"$path"; then echo "wrote $path"; fi
    if mkdir "$path/.planted" 2>/dev/null; then echo "made a folder in $path"; fi
done
for root in "" /usr /bin /lib /etc /opt /var /var/tmp /home /root /run /sys /proc /proc/1 /dev; do
    tried=$((tried + 1))
    if : 2>/dev/null >"$root/.planted-by-a-test"; then echo "wrote $root/.planted-by-a-test"; rm -f "$root/.planted-by-a-test"; fi
done
echo "tried $tried"
echo "top $(ls -A / | tr '\n' ' ')"
up=${HOME%/*}
while [ -n "$up" ]; do
    echo "inside $up $(ls -A "$up" 2>/dev/null | tr '\n' ' ')"
    up=${up%/*}
done
echo "above $(ls -A .. 2>/dev/null | wc -l)"
echo "devices $(ls -A /dev | tr '\n' ' ')"
echo "processes $(ls -d /proc/[0-9]* | wc -l)"
echo "numbers $(cd /proc && ls -d [0-9]* | tr '\n' ' ')"
while read -r _ _ _ _ where options _; do
    case ",$options," in *,ro,*) ;; *) echo "writable $where" ;; esac
    case ",$options," in *,nosuid,*) ;; *) echo "suid $where" ;; esac
done </proc/self/mountinfo
