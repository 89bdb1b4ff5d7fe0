module Tests.Language.CanonicalTests

open System
open Expecto
open Microsoft.FSharp.Reflection
open SslResearch
open Tests.Support

let private flags = Reflection.BindingFlags.Public ||| Reflection.BindingFlags.NonPublic

/// Every value that differs from this one in one place, with the path of that place.
let rec private mutants (path: string) (declared: Type) (value: obj) : (string * obj) list =
    let t = if isNull value then declared else value.GetType()

    let within (parts: (string * Type * obj) list) (rebuild: obj[] -> obj) =
        let values = parts |> List.map (fun (_, _, v) -> v) |> List.toArray

        [
            for i, (name, partType, part) in List.indexed parts do
                for p, changed in mutants $"{path}.{name}" partType part do
                    let copy = Array.copy values
                    copy[i] <- changed
                    p, rebuild copy
        ]

    if
        isNull value
        || (t.IsGenericType && t.GetGenericTypeDefinition() = typedefof<option<_>>)
    then
        let inner = declared.GetGenericArguments()[0]
        let some, none = FSharpType.GetUnionCases declared |> fun c -> c[1], c[0]

        if isNull value then
            let sample: obj =
                if inner = typeof<int> then box 7
                elif inner = typeof<float> then box 0.7
                else failwith $"no sample of {inner} for {path}"

            [ path, FSharpValue.MakeUnion(some, [| sample |]) ]
        else
            let _, fields = FSharpValue.GetUnionFields(value, declared)

            (path, FSharpValue.MakeUnion(none, [||]))
            :: (mutants path inner fields[0]
                |> List.map (fun (p, v) -> p, FSharpValue.MakeUnion(some, [| v |])))
    else
        match value with
        | :? int as x -> [ path, box (x + 1) ]
        | :? uint64 as x -> [ path, box (x + 1UL) ]
        | :? float as x -> [ path, box (Math.BitIncrement x) ]
        | :? bool as x -> [ path, box (not x) ]
        | :? string as x -> [ path, box (x + "x") ]
        | :? ITrainedRun as run -> [ path, box (Run.stopAtCollapse (run :?> Run)) ]
        | _ when t.IsGenericType && (t.GetGenericTypeDefinition() = typedefof<list<_>>) ->
            let element = t.GetGenericArguments()[0]
            let items = [| for x in (value :?> Collections.IEnumerable) -> x |]

            let make (items: obj[]) =
                let cases = FSharpType.GetUnionCases t

                Array.foldBack
                    (fun x tail -> FSharpValue.MakeUnion(cases[1], [| x; tail |]))
                    items
                    (FSharpValue.MakeUnion(cases[0], [||]))

            [
                if items.Length > 0 then
                    yield path + " shortened", make (Array.truncate (items.Length - 1) items)
                    yield path + " repeated", make (Array.append items [| items[0] |])

                    if items.Length > 1 && items[0] <> items[items.Length - 1] then
                        yield path + " reversed", make (Array.rev items)

                for i in 0 .. items.Length - 1 do
                    for p, changed in mutants $"{path}[{i}]" element items[i] do
                        let copy = Array.copy items
                        copy[i] <- changed
                        yield p, make copy
            ]
        | _ when FSharpType.IsUnion(t, flags) ->
            let case, fields = FSharpValue.GetUnionFields(value, t, flags)
            let union = case.DeclaringType

            let bare =
                FSharpType.GetUnionCases(union, flags)
                |> Array.filter (fun c -> c.Tag <> case.Tag && c.GetFields().Length = 0)

            let sameShape =
                FSharpType.GetUnionCases(union, flags)
                |> Array.filter (fun c ->
                    c.Tag <> case.Tag
                    && fields.Length > 0
                    && (c.GetFields() |> Array.map _.PropertyType) = (case.GetFields() |> Array.map _.PropertyType))

            [
                for c in bare do
                    yield $"{path} as {c.Name}", FSharpValue.MakeUnion(c, [||], flags)

                for c in sameShape do
                    yield $"{path} as {c.Name}", FSharpValue.MakeUnion(c, fields, flags)

                let parts =
                    Array.zip (case.GetFields()) fields
                    |> Array.toList
                    |> List.map (fun (p, v) -> p.Name, p.PropertyType, v)

                yield! within parts (fun values -> FSharpValue.MakeUnion(case, values, flags))
            ]
        | _ when FSharpType.IsRecord(t, flags) ->
            let parts =
                FSharpType.GetRecordFields(t, flags)
                |> Array.toList
                |> List.map (fun p -> p.Name, p.PropertyType, FSharpValue.GetRecordField(value, p))

            within parts (fun values -> FSharpValue.MakeRecord(t, values, flags))
        | _ -> failwith $"{path} of type {t} has no mutants: teach this test about it"

let private idsOf (experiment: Experiment<'Views>) =
    mutants "" typeof<Experiment<'Views>> experiment
    |> List.map (fun (path, changed) -> path, (Run.ofExperiment (changed :?> Experiment<'Views>)).Id)

let private noIdentity (path: string) =
    path.StartsWith ".Name" || path.StartsWith ".Setting.Seeds"

let private rich =
    { Samples.simclr with
        Setting =
            { Samples.setting with
                Protocols =
                    [
                        Samples.knn
                        KnnVote 5
                        At("layer2", LinearProbe(epochs = 10))
                        At("z", Samples.knn)
                    ]
                Train =
                    { Train.CpuScale with
                        Optimiser = Lars LarsRule.Default
                        Rate = Rate.LinearScaled 0.3
                        ClipNorm = Some 1.
                    }
            }
        Augment =
            twoViewsOf
                [ CropTo(24, 0.2, 1.0); Flip 0.5; Blur 0.5 ]
                [
                    ResizedCrop(0.1, 1.0, resampling = Bicubic)
                    VerticalFlip 0.1
                    Rotate90 0.2
                    Solarize 0.2
                    Gray 0.1
                ]
    }

let private covers name (experiment: Experiment<'Views>) =
    test name {
        let original = (Run.ofExperiment experiment).Id
        let all = idsOf experiment
        let inert, identity = all |> List.partition (fst >> noIdentity)
        Expect.isGreaterThan identity.Length 20 "many single changes were tried"

        for path, id in identity do
            Expect.notEqual id original $"a change at {path} is a new run"

        for path, id in inert do
            Expect.equal id original $"a change at {path} changes no result"

        let clashes =
            identity
            |> List.groupBy snd
            |> List.filter (fun (_, same) -> same.Length > 1)
            |> List.map (snd >> List.map fst)

        Expect.isEmpty clashes "different changes are different runs"
    }

type private Custom =
    {
        Weight: float
        Inner: (int * string) list
    }

type private Opaque = { Action: int -> int }

[<Tests>]
let tests =
    testList
        "canonical text"
        [
            covers "every field of a SimCLR experiment is in the run id" Samples.simclr
            covers "every field of an experiment with rarer cases is in the run id" rich

            covers
                "every field of a supervised experiment is in the run id"
                { Samples.supervised with
                    Setting =
                        { Samples.setting with
                            Data = Data.imported "mine"
                            Train =
                                { Train.CpuScale with
                                    Optimiser = AdamW AdamWRule.Default
                                }
                        }
                }

            covers
                "every field of an experiment that builds on another run is in the run id, that run's identity too"
                {
                    Name = "beit"
                    Setting =
                        { Samples.setting with
                            Backbone = SmallVit
                        }
                    Augment = maskedBlocks 4 0.4 16 [ Flip 0.5 ]
                    Method =
                        Beit.Default(
                            Run.ofExperiment
                                {
                                    Name = "words"
                                    Setting = Samples.setting
                                    Augment = oneView [ Flip 0.5 ]
                                    Method = Dvae.CpuCifar
                                }
                        )
                }

            covers
                "every field of a discrete autoencoder is in the run id"
                {
                    Name = "words"
                    Setting = Samples.setting
                    Augment = oneView [ Flip 0.5 ]
                    Method = Dvae.Default
                }

            test "text is one line a value, with exact numbers" {
                let text =
                    Canonical.text
                        "x"
                        {
                            Weight = 0.1 + 0.2
                            Inner = [ 1, "a\"b\n" ]
                        }

                Expect.equal
                    text
                    "x = Tests.Language.CanonicalTests+Custom\nx.Weight = 0.30000000000000004\nx.Inner = list of 1\nx.Inner[0].Item1 = 1\nx.Inner[0].Item2 = \"a\\\"b\\u000a\"\n"
                    "text"
            }

            test "a field that was added later leaves earlier runs their identity, and tells its other values" {
                let text (resizing: VitResizing) =
                    Canonical.text "b" (box { SmallVit with Resizing = resizing })

                Expect.isFalse ((text VitResizing.DinoScale).Contains "Resizing") "as it was"
                Expect.stringContains (text VitResizing.BySize) "b.Resizing = BySize" "told"
            }

            test "culture changes nothing" {
                let before = Globalization.CultureInfo.CurrentCulture
                let id = (Run.ofExperiment Samples.simclr).Id

                try
                    let comma = Globalization.CultureInfo.InvariantCulture.Clone() :?> Globalization.CultureInfo
                    comma.NumberFormat.NumberDecimalSeparator <- ","
                    comma.NumberFormat.NegativeSign <- "~"
                    Globalization.CultureInfo.CurrentCulture <- comma
                    Expect.equal (Run.ofExperiment Samples.simclr).Id id "the same id"
                finally
                    Globalization.CultureInfo.CurrentCulture <- before
            }

            test "a function has no canonical text, and the message says where" {
                let thrown =
                    try
                        Canonical.text "e" { Action = id } |> ignore
                        ""
                    with CanonicalException(path, _) ->
                        path

                Expect.equal thrown "e.Action" "path"
            }

            test "baselines depend on what they use and on nothing else" {
                let raw s = (Run.rawPixels s).Id
                let random s = (Run.randomInit s).Id
                let s = Samples.setting

                let longer =
                    { s with
                        Train = { s.Train with Epochs = 99 }
                    }

                let other = { s with Backbone = ResNet18 }
                let scored = { s with Protocols = [ KnnVote 1 ] }
                let data = { s with Data = Cifar10 }
                Expect.equal (raw longer) (raw s) "raw pixels, epochs"
                Expect.equal (raw other) (raw s) "raw pixels, encoder"
                Expect.notEqual (raw scored) (raw s) "raw pixels, protocols"
                Expect.notEqual (raw data) (raw s) "raw pixels, data"
                Expect.equal (random longer) (random s) "random initialisation, epochs"
                Expect.notEqual (random other) (random s) "random initialisation, encoder"
                Expect.notEqual (random s) (raw s) "the two"
            }

            test "names and places on axes are no part of the identity" {
                let run = Run.ofExperiment Samples.simclr
                Expect.equal (Run.named "other" run).Id run.Id "name"
                Expect.equal (Run.reference run).Id run.Id "reference"
            }
        ]
