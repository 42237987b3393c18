Write-Output "Hello from PowerShell"
