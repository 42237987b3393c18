# words.pl: counts the words of its standard input
use strict;
use warnings;

my %count;
while (my $line = <STDIN>) {
    $count{lc $1}++ while $line =~ /(\w+)/g;
}
for my $word (sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count) {
    printf "%5d %s\n", $count{$word}, $word;
}
print scalar(keys %count), " different words\n";
