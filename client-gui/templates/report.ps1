# report.ps1: a few facts about where it runs
param([string]$Name = "world")
$facts = [ordered]@{
    Greeting   = "Hello, $Name"
    Attempt    = $env:RUCHE_ATTEMPT
    PowerShell = $PSVersionTable.PSVersion.ToString()
}
foreach ($fact in $facts.GetEnumerator()) {
    "{0,-12} {1}" -f $fact.Key, $fact.Value
}
