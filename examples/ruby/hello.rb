puts "Hello from Ruby"
puts (1..5).map { |n| n * n }.join(", ")
