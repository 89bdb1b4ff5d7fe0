module Tests.Language.MethodsPageTests

open System
open System.IO
open Expecto
open SslResearch
open Tests.Support

[<Tests>]
let tests =
    testList
        "methods page"
        [
            test "docs/methods.md is what the catalogue says" {
                let path = Repository.path "docs/methods.md"
                let text = MethodsPage.text Methods.catalogue

                if Environment.GetEnvironmentVariable "SSLR_UPDATE_GOLDEN" = "1" then
                    File.WriteAllText(path, text)
                else
                    Expect.equal ((File.ReadAllText path).Split '\n') (text.Split '\n') "run with SSLR_UPDATE_GOLDEN=1"
            }

            test "every method says all there is to say, under a name of its own" {
                for entry in Methods.catalogue do
                    let c = entry.Card

                    for text in
                        [
                            c.Name
                            c.Idea
                            c.Views
                            c.Masking
                            c.Negatives
                            c.BatchSize
                            c.Teacher
                            c.Evaluated
                            c.Equation
                            c.Source
                        ] do
                        Expect.isFalse (String.IsNullOrWhiteSpace text) $"{c.Name}: an empty field"

                    Expect.isNonEmpty entry.Presets c.Name

                let names = Methods.catalogue |> List.map _.Card.Name
                Expect.equal (List.distinct names) names "names"
            }

            test "every method of the catalogue has its laws tested" {
                let tested = MethodKit.all.Value |> List.choose _.Run.Card |> List.map _.Name |> Set.ofList

                for entry in Methods.catalogue do
                    Expect.contains tested entry.Card.Name "tests/Methods states a tiny experiment of it"
            }
        ]
