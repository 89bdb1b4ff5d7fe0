/// Numbers as arguments: held until the operation has read them.
module Tests.Core.ScalarsTests

open System
open System.IO
open System.Reflection
open Expecto
open TorchSharp
open SslResearch.Core.Runtime
open Tests.Support

let private banned =
    lazy
        (File.ReadAllLines(Path.Combine(Repository.root, "BannedSymbols.txt"))
         |> Array.map (fun line -> (line.Split [| ';'; '~' |])[0])
         |> set)

let private name (t: Type) = (nonNull t.FullName).Replace('+', '.')

let private symbol (m: MethodInfo) =
    let parameters =
        m.GetParameters()
        |> Array.map (fun p -> name p.ParameterType)
        |> String.concat ","

    $"M:{name (nonNull m.DeclaringType)}.{m.Name}({parameters})"

let private operators (t: Type) =
    t.GetMethods(BindingFlags.Static ||| BindingFlags.Public)
    |> Array.filter (fun m -> m.Name.StartsWith "op_")

[<Tests>]
let tests =
    testList
        "scalars"
        [
            test "a number is held until its thread has made many more" {
                let half = Scalars.Of 0.5

                for i in 1..60 do
                    Scalars.Of i |> ignore

                GC.Collect()
                GC.WaitForPendingFinalizers()
                use four = torch.full ([| 2L |], (8.).ToScalar())
                use got = four.mul half
                Expect.equal (got.data<float32>().ToArray()) [| 4f; 4f |] "product"
            }

            test "each kind keeps its type" {
                use ones = torch.ones (2L, dtype = torch.int64)
                use whole = ones.mul (Scalars.Of 3)
                Expect.equal whole.dtype torch.int64 "int"
                use long = ones.mul (Scalars.Of 3L)
                Expect.equal long.dtype torch.int64 "long"
                use real = ones.mul (Scalars.Of 0.5)
                Expect.isTrue (real.is_floating_point ()) "double"
                use single = ones.mul (Scalars.Of 0.5f)
                Expect.isTrue (single.is_floating_point ()) "single"
                use truth = torch.zeros(2L, dtype = torch.bool).logical_or(ones.eq (Scalars.Of true))
                Expect.isTrue (truth.all().item<bool>()) "bool"
            }

            test "Core takes no number that nobody holds" {
                let bare =
                    [|
                        for m in operators typeof<Scalar> do
                            let given = (m.GetParameters() |> Array.head).ParameterType

                            if
                                m.ReturnType = typeof<Scalar>
                                && not (given.Name.Contains "Complex")
                                && not (given.Name.Contains "Tuple")
                            then
                                symbol m

                        for m in operators typeof<torch.Tensor> do
                            let parameters = m.GetParameters()

                            if
                                parameters.Length = 2
                                && parameters |> Array.exists (fun p -> p.ParameterType.IsPrimitive)
                            then
                                symbol m
                    |]

                Expect.isGreaterThan bare.Length 20 "operators"
                Expect.isEmpty (set bare - banned.Value) "not in BannedSymbols.txt"
            }
        ]
