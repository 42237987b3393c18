local number = = 7
print(number)
