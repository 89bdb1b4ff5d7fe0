module Tests.Language.DatasetsTests

open System
open Expecto
open SslResearch
open SslResearch.Core.Data

let private shapes =
    Shapes
        {
            Train = 50
            Test = 10
            Size = 16
            Seed = 9UL
            Statistics = Independent
        }

let private images (store: ImageStore) =
    [ for i in 0L .. int64 store.Count - 1L -> Convert.ToHexString(store.Pixels i) ]

[<Tests>]
let tests =
    testList
        "datasets"
        [
            test "a held-out part stands in for the test split: disjoint, complete, the same each time" {
                let root = DataRoot.Resolve null
                use plain = Datasets.openSplits root shapes
                use held = Datasets.openSplits root (HeldOut(shapes, 0.2))
                use again = Datasets.openSplits root (HeldOut(shapes, 0.2))
                Expect.equal (held.Train.Count, held.Test.Count) (40, 10) "sizes"

                Expect.equal
                    (List.sort (images held.Train @ images held.Test))
                    (List.sort (images plain.Train))
                    "together the training split"

                Expect.equal (images again.Test) (images held.Test) "again"
                let seen = Set.ofList (images plain.Test)
                Expect.all (images held.Test) (fun i -> not (seen.Contains i)) "the test split is left alone"
                Expect.equal (Data.trainCount (HeldOut(shapes, 0.2))) (Some 40) "the count that checks use"
            }

            test "impossible parts are problems" {
                for part in [ 0.; 1.; -0.1 ] do
                    Expect.isNonEmpty (Data.problems (HeldOut(shapes, part))) $"{part}"

                Expect.isNonEmpty (Data.problems (HeldOut(HeldOut(shapes, 0.5), 0.5))) "twice"
                Expect.isEmpty (Data.problems (HeldOut(shapes, 0.1))) "a tenth"
            }
        ]
