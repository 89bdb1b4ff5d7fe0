namespace SslResearch

open SslResearch.Core.Methods
open SslResearch.Core.Views

/// Gidaris et al. 2018, "Unsupervised representation learning by predicting image rotations".
type Rotation =
    {
        /// Widths of the classifier's hidden layers; none makes it linear.
        Hidden: int list
        /// Batch norm before each of their ReLUs; hidden layers have no bias then.
        BatchNorm: bool
    }

    /// The paper's ImageNet and CIFAR networks end with the linear layer of a classifier of four classes; all four orientations of
    /// every image are in the batch (section 2.2).
    static member Default = { Hidden = []; BatchNorm = false }

    /// The CPU-scale preset: a hidden layer keeps the encoder's own output from being nothing but orientation.
    static member CpuCifar = { Hidden = [ 128 ]; BatchNorm = true }

    interface IMethod<RotatedView> with
        member m.Build context =
            new SslResearch.Core.Methods.Rotation(context.Encoder, RotationOptions(List.toArray m.Hidden, m.BatchNorm))

        member _.Card =
            {
                Name = "rotation"
                Year = 2018
                Kind = Pretext
                Idea = "say by which quarter turn an image was rotated"
                Views = "one view in its four orientations"
                Masking = "none"
                Negatives = "none"
                BatchSize = "little; every image counts four times in a batch"
                Teacher = "none"
                Evaluated = "the encoder; in the paper middle layers transfer best"
                Equation = "−log softmax(g(h))_t for an image turned by t·90°, mean over t = 0 … 3 and the batch"
                Source = "Gidaris et al. 2018"
                Differences = []
            }

        member _.HasProjector = false

        member m.Facts =
            [
                "classifier", [ yield! m.Hidden |> List.map string; "4" ] |> String.concat ", "
                "batch norm", (if m.BatchNorm then "yes" else "no")
            ]

        member m.Problems =
            [
                for i, width in List.indexed m.Hidden do
                    yield! Problem.atLeast 1 $"Hidden[{i}]" width
            ]

    static member Entry =
        MethodEntry.make<RotatedView>
            Rotation.Default
            [ "default (paper)", Rotation.Default; "CPU-scale CIFAR-10", Rotation.CpuCifar ]
