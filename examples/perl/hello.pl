use strict;
use warnings;

print "Hello from Perl\n";
print join(", ", map { $_ * $_ } 1 .. 5), "\n";
