raise "nothing to do"
