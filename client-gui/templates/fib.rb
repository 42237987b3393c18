# fib.rb: Fibonacci numbers, remembered
memory = Hash.new { |known, n| known[n] = n < 2 ? n : known[n - 1] + known[n - 2] }
n = (ARGV[0] || 30).to_i
puts "fib(#{n}) = #{memory[n]}"
