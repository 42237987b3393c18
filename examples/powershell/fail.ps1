[Console]::Error.WriteLine("nothing to do")
exit 11
