/// Feature banks for tests of evaluation.
module Tests.Support.Features

open TorchSharp
open SslResearch.Core.Evaluation
open SslResearch.Core.Runtime

let bank (width: int) (features: float[]) (labels: int64[]) =
    new FeatureBank(
        torch.tensor(features |> Array.map float32, dtype = torch.float32).reshape(int64 labels.Length, int64 width),
        torch.tensor (labels, dtype = torch.int64)
    )

/// Classes around their own centres, with standard normal noise.
let blobs seed (classes: int) (count: int) width spread =
    let mutable random = Philox(seed, RandomPurpose.Evaluation)
    let centres = Array.init (classes * width) (fun _ -> spread * random.NextGaussian())
    let mutable random = Philox(seed, RandomPurpose.Evaluation, 1u)
    let labels = Array.init count (fun i -> int64 (i % classes))

    let features =
        Array.init (count * width) (fun i -> centres[int labels[i / width] * width + i % width] + random.NextGaussian())

    features, labels

let part first length width (features: float[], labels: int64[]) =
    bank width features[first * width .. (first + length) * width - 1] labels[first .. first + length - 1]
