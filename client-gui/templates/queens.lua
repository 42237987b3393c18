-- queens.lua: in how many ways do n queens stand on a board?
local n = tonumber(arg and arg[1]) or 8
local columns, rising, falling, ways = {}, {}, {}, 0

local function place(row)
  if row > n then
    ways = ways + 1
    return
  end
  for column = 1, n do
    if not (columns[column] or rising[row + column] or falling[row - column]) then
      columns[column], rising[row + column], falling[row - column] = true, true, true
      place(row + 1)
      columns[column], rising[row + column], falling[row - column] = nil, nil, nil
    end
  end
end

place(1)
print(n .. " queens: " .. ways .. " ways")
