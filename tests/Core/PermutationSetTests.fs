module Tests.Core.PermutationSetTests

open System
open Expecto
open SslResearch.Core.Methods

let private distance (a: int[]) (b: int[]) =
    Array.fold2 (fun d x y -> if x = y then d else d + 1) 0 a b

let private least (set: int[] list) =
    [
        for i, a in List.indexed set do
            for b in List.skip (i + 1) set do
                distance a b
    ]
    |> List.min

/// In lexicographic order.
let rec private all items : int[] list =
    let rec extend left =
        if List.isEmpty left then
            [ [] ]
        else
            [
                for x in left do
                    for rest in extend (List.except [ x ] left) do
                        x :: rest
            ]

    extend [ 0 .. items - 1 ] |> List.map List.toArray

let private create count items =
    PermutationSet.Create(count, items) |> List.ofSeq

/// Algorithm 1 of the paper with its matrix of distances, first and ties as we state them.
let private naive count items =
    let everything = all items

    let rec grow chosen =
        if List.length chosen = count then
            chosen
        else
            let best =
                everything
                |> List.except chosen
                |> List.map (fun p ->
                    let distances = chosen |> List.map (distance p)
                    (List.sum distances, List.min distances), p)
                |> List.reduce (fun a b -> if fst b > fst a then b else a)
                |> snd

            grow (chosen @ [ best ])

    grow [ List.head everything ]

/// Largest least distance that any set of this size reaches.
let private best count items =
    let everything = all items |> List.toArray

    let rec reaches wanted chosen from =
        List.length chosen = count
        || Seq.exists
            (fun i ->
                chosen |> List.forall (fun c -> distance c everything[i] >= wanted)
                && reaches wanted (everything[i] :: chosen) (i + 1))
            (seq { from .. everything.Length - 1 })

    // Relabelling makes any set contain the identity.
    [ items .. -1 .. 1 ] |> List.find (fun d -> reaches d [ everything[0] ] 1)

[<Tests>]
let tests =
    testList
        "pretext permutations"
        [
            test "the greedy choice equals the paper's loops" {
                for items, count in [ 2, 2; 3, 6; 4, 24; 5, 30; 6, 12 ] do
                    Expect.equal (create count items) (naive count items) $"{count} of {items}"
            }

            test "small sets reach the largest possible least distance" {
                for items, counts in [ 3, [ 2; 3; 4; 6 ]; 4, [ 2; 3; 4; 5; 8; 12; 24 ]; 5, [ 2; 4; 5 ] ] do
                    for count in counts do
                        Expect.equal (least (create count items)) (best count items) $"{count} of {items}"
            }

            test "as many as items differ everywhere" {
                for items in 2..9 do
                    Expect.equal (least (create items items)) items $"{items}"
            }

            test "a hundred permutations of nine: distinct, far apart, always the same" {
                let set = create 100 9
                Expect.equal (List.distinct set).Length 100 "distinct"
                Expect.all set (fun p -> Array.sort p = [| 0..8 |]) "permutations"
                Expect.equal set.Head [| 0..8 |] "the identity first"
                Expect.equal (create 100 9) set "again"
                Expect.equal (create 10 9) (List.take 10 set) "a smaller set is its beginning"

                let distances =
                    [
                        for i in 0..99 do
                            for j in 0 .. i - 1 do
                                float (distance set[i] set[j])
                    ]

                Expect.equal (List.min distances) 4. "least"
                Expect.equal (List.average distances) 8.08 "mean: the largest that evenly used places allow"

                for place in 0..8 do
                    let counts = set |> List.countBy (fun p -> p[place]) |> List.map snd
                    Expect.isLessThanOrEqual (List.max counts - List.min counts) 1 "every patch as often at every place"
            }

            test "impossible sets are refused" {
                for count, items in [ 0, 4; 25, 4; 1, 0; 1, 10 ] do
                    Expect.throwsT<ArgumentOutOfRangeException>
                        (fun () -> create count items |> ignore)
                        $"{count} of {items}"
            }
        ]
