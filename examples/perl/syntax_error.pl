my $name = ;
print "Hello $name\n";
