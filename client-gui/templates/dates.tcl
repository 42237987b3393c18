# dates.tcl: which weekday the next seven days are
set now [clock seconds]
for {set day 1} {$day <= 7} {incr day} {
    set then [expr {$now + $day * 86400}]
    puts [clock format $then -format "%A %d %B" -gmt true]
}
