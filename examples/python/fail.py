numbers = [1, 2, 3]
print("the fourth number is", numbers[3])
