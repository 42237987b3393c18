<?php
// table.php: a table of squares and cubes
$n = (int)($argv[1] ?? 10);
foreach (range(1, $n) as $i) {
    printf("%4d %6d %8d\n", $i, $i ** 2, $i ** 3);
}
