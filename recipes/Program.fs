module Recipes.Program
[<EntryPoint>]
let main _ = 0
