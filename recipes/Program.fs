module Recipes.Program

[<EntryPoint>]
let main argv = SslResearch.Cli.main All.recipes argv
