/// The loss entries of tests/Conformance/losses.json as tests: value and gradients, in both precisions, within the file's tolerances.
module Tests.Support.GoldenLoss

open System.Text.Json
open Expecto
open TorchSharp
open Tests.Support.Networks

/// An entry in one precision: its inputs as leaves that ask for gradients, and its parameters.
type Case =
    {
        Entry: JsonElement
        DType: torch.ScalarType
        Inputs: Map<string, torch.Tensor>
    }

    member c.Input name = c.Inputs[name]

    /// A number of the entry's `params`.
    member c.Number(name: string) =
        c.Entry.GetProperty("params").GetProperty(name).GetDouble()

    /// A tensor of the case's dtype, without gradient.
    member c.Constant(shape: int64[], values: float[]) =
        torch.tensor(values, dtype = c.DType).reshape shape

let private both = [ true, "float64"; false, "float32" ]

let private case entry double =
    let dtype = if double then torch.float64 else torch.float32

    {
        Entry = entry
        DType = dtype
        Inputs =
            Map.ofList
                [
                    for p in entry.GetProperty("inputs").EnumerateObject() ->
                        let raw = Golden.input p.Name entry ||> tensor
                        p.Name, raw.``to``(dtype).requires_grad_()
                ]
    }

/// A value of `expected`, against a number within the entry's tolerance.
let agrees (c: Case) (name: string) (want: float) (got: float) =
    let double = c.DType = torch.float64
    let part = Golden.bound c.Entry double
    Expect.isTrue (Golden.close (part "rtol") (part "atol") want got) $"{name}: {want} against {got}"

let private gradients (c: Case) =
    let allowed = Golden.gradientBound c.Entry (c.DType = torch.float64)

    for p in c.Entry.GetProperty("expected").GetProperty("grad").EnumerateObject() do
        let norm = sqrt (p.Value.GetProperty("sumsq").GetDouble())
        let input = c.Input p.Name

        let got =
            match input.grad with
            | null -> Array.zeroCreate<float>(int (input.numel ()))
            | g -> doubles g

        let gotNorm = sqrt (Array.sumBy (fun x -> x * x) got)
        Expect.isTrue (Golden.close allowed 0. norm gotNorm) $"norm of gradient {p.Name}: {norm} against {gotNorm}"

        Golden.floats (p.Value.GetProperty "first6")
        |> Array.iteri (fun i x ->
            Expect.isTrue (Golden.close 0. (allowed * norm) x got[i]) $"gradient {p.Name}[{i}]: {x} against {got[i]}")

/// Two tests of an entry: `loss` of its inputs has the stated value, and its gradients with respect to them are the stated ones
/// (exactly 0, or none at all, where the file says 0).
let tests (id: string) (loss: Case -> torch.Tensor) =
    let entry = Golden.entry "losses" id

    [
        for double, precision in both do
            test $"golden {id} {precision}" {
                use scope = torch.NewDisposeScope()
                let c = case entry double
                let value = loss c
                Expect.equal value.dtype c.DType "dtype"
                value.backward ()

                agrees
                    c
                    "value"
                    (entry.GetProperty("expected").GetProperty("value").GetDouble())
                    (Array.head (doubles value))

                gradients c
            }
    ]

/// The same for several entries.
let testsOf (ids: string list) loss =
    ids |> List.collect (fun id -> tests id loss)

/// An entry's inputs and expectations without gradients, for anything else that it states.
let read (id: string) (look: Case -> JsonElement -> unit) =
    let entry = Golden.entry "losses" id

    for double, _ in both do
        use scope = torch.NewDisposeScope()
        let c = case entry double
        look c (entry.GetProperty "expected")

/// Central differences of a scalar loss with respect to each of its inputs, against its gradients, in float64.
let finiteDifferences (shapes: (int64[] * float[]) list) (loss: torch.Tensor list -> torch.Tensor) =
    use scope = torch.NewDisposeScope()
    let h = 1e-6
    let leaves = shapes |> List.map (fun (s, v) -> (tensor s v).requires_grad_())
    (loss leaves).backward()

    let value moved =
        use inner = torch.NewDisposeScope()
        (loss (moved |> List.map (fun (s, v) -> tensor s v))).item<float>()

    shapes
    |> List.iteri (fun k (_, values) ->
        let gradient =
            match leaves[k].grad with
            | null -> Array.zeroCreate<float> values.Length
            | g -> doubles g

        for i in 0 .. values.Length - 1 do
            let at d =
                shapes
                |> List.mapi (fun j (s, v) ->
                    s,
                    (if j = k then
                         Array.mapi (fun n x -> if n = i then x + d else x) v
                     else
                         v))
                |> value

            let difference = (at h - at -h) / (2. * h)

            Expect.isTrue
                (Golden.close 1e-5 1e-7 difference gradient[i])
                $"input {k}, element {i}: {difference} against {gradient[i]}")

/// Inputs without structure.
let arbitrary (seed: float) (shape: int64 list) : int64[] * float[] =
    let n = List.fold (*) 1L shape |> int
    List.toArray shape, Numbers.unstructured seed n

/// Loss and all gradients of inputs that are all of one value are finite, in both precisions; gives the loss in float64.
let atCollapse (fill: float) (shapes: int64[] list) (loss: torch.Tensor list -> torch.Tensor) =
    [
        for dtype in [ torch.float32; torch.float64 ] do
            use scope = torch.NewDisposeScope()

            let leaves =
                shapes
                |> List.map (fun s -> torch.full(s, fill.ToScalar(), dtype = dtype).requires_grad_())

            let value = loss leaves
            value.backward ()
            Expect.all (doubles value) System.Double.IsFinite $"loss, {dtype}, all {fill}"

            for leaf in leaves do
                match leaf.grad with
                | null -> ()
                | g -> Expect.all (doubles g) System.Double.IsFinite $"gradient, {dtype}, all {fill}"

            (doubles value)[0]
    ]
    |> List.last

/// The message of the refusal.
let refusal (f: unit -> torch.Tensor) =
    use scope = torch.NewDisposeScope()
    Refusals.message f

/// Live tensors do not grow over calls.
let leavesNothing (f: unit -> torch.Tensor) =
    use scope = torch.NewDisposeScope()

    let once () =
        use value = f ()
        ignore value

    once ()
    let before = LiveTensors.settled ()

    for _ in 1..3 do
        once ()

    Expect.equal torch.Tensor.TotalCount before "live tensors"
