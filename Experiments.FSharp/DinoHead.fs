namespace SslResearch

open SslResearch.Core.Models

/// What follows DINO's encoders: linear layers with GELU between, the result scaled to length 1, then normalised prototypes.
type DinoHead =
    {
        /// Linear layers before the prototypes; 1 leaves a linear map.
        Layers: int
        /// Width of all but the last of them.
        Hidden: int
        /// Length of the vectors that are compared with prototypes.
        Bottleneck: int
        /// Number of prototypes K.
        Prototypes: int
        /// Batch norm before each GELU.
        BatchNorm: bool
    }

[<RequireQualifiedAccess>]
module DinoHead =
    let describe head =
        let norm = if head.BatchNorm then " BN" else ""
        let hidden = String.replicate (head.Layers - 1) $"{head.Hidden}{norm}, "
        $"GELU MLP {hidden}{head.Bottleneck}"

    let build head =
        DinoHeadOptions(head.Layers, head.Hidden, head.Bottleneck, head.Prototypes, head.BatchNorm)

    let problems head =
        [
            yield! Problem.atLeast 1 "Layers" head.Layers
            yield! Problem.atLeast 1 "Hidden" head.Hidden
            yield! Problem.atLeast 1 "Bottleneck" head.Bottleneck
            yield! Problem.atLeast 2 "Prototypes" head.Prototypes
        ]
