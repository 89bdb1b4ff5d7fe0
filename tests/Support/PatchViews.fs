/// Masked views for tests, made by hand.
module Tests.Support.PatchViews

open TorchSharp
open SslResearch.Core.Methods
open SslResearch.Core.Views
open Tests.Support.Networks

/// An order for each image that differs from its neighbours': every patch once, without structure.
let orders (images: int) (patches: int) =
    [|
        for n in 0 .. images - 1 ->
            [| 0 .. patches - 1 |]
            |> Array.sortBy (fun p -> sin (float (p * p + 3 * p + 7 * n + 1)))
    |]

let indices (rows: int[][]) =
    torch.tensor(Array.collect (Array.map int64) rows).reshape(int64 rows.Length, int64 rows[0].Length)

/// Images without structure.
let images (n: int) (side: int) =
    torch
        .arange(int64 (n * 3 * side * side), dtype = torch.float64)
        .mul(0.37.ToScalar())
        .sin_()
        .view(int64 n, 3L, int64 side, int64 side)

/// The images with other pixels in some patches of each: patch p of image n is changed where the test says so.
let changed (patch: int) (pick: int -> int -> bool) (images: torch.Tensor) =
    let columns = int images.shape[3] / patch
    let moved = images.clone ()

    for n in 0 .. int images.shape[0] - 1 do
        for p in 0 .. int images.shape[2] / patch * columns - 1 do
            if pick n p then
                let square =
                    moved
                        .narrow(0, int64 n, 1L)
                        .narrow(2, int64 (p / columns * patch), int64 patch)
                        .narrow(3, int64 (p % columns * patch), int64 patch)

                square.mul_((-1.7).ToScalar()).add_((0.3).ToScalar()) |> ignore

    moved

/// The values of patch p of image n: pixels row by row, their channels beside each other.
let patchOf (patch: int) (images: torch.Tensor) n p =
    let shape = images.shape
    let values = doubles images
    let columns = int shape[3] / patch
    let channels, height, width = int shape[1], int shape[2], int shape[3]

    [|
        for i in 0 .. patch - 1 do
            for j in 0 .. patch - 1 do
                for c in 0 .. channels - 1 ->
                    values[((n * channels + c) * height + p / columns * patch + i) * width
                           + p % columns * patch
                           + j]
    |]

/// A network of a method in double precision, with weights far enough from 0 that nothing hides behind the residual path.
let lively (method: ISslMethod<MaskedView>) =
    use _ = torch.no_grad ()

    for struct (_, m) in method.Trained do
        m.``to`` torch.float64 |> ignore

        for name, p in parameters m do
            if p.dim () > 1L then
                p.mul_ ((if name.Contains "norm" then 1. else 6.).ToScalar()) |> ignore

let forward (method: ISslMethod<MaskedView>) views =
    let context = StepContext(7UL, 0L, 10L, 0)
    method.Forward(views, &context)

let picture (method: IPictured<MaskedView>) views =
    let context = StepContext(7UL, 9L, 10L, 0)
    method.Picture(views, &context)

/// A trained network of a method.
let part<'M when 'M :> torch.nn.Module> (method: ISslMethod<MaskedView>) prefix =
    let struct (_, m) = method.Trained |> Seq.find (fun (struct (name, _)) -> name = prefix)
    m :?> 'M
