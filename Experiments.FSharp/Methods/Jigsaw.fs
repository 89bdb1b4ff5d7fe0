namespace SslResearch

open SslResearch.Core.Methods
open SslResearch.Core.Views

/// Noroozi and Favaro 2016, "Unsupervised learning of visual representations by solving jigsaw puzzles".
type Jigsaw =
    {
        /// Size of the set of permutations, chosen by maximal Hamming distance; 2 to 362 880.
        Permutations: int
        /// What follows the encoder for each patch, before the nine vectors are joined.
        Patch: Projection
        /// Widths of the classifier's hidden layers.
        Hidden: int list
        /// Batch norm before each of their ReLUs; hidden layers have no bias then.
        BatchNorm: bool
    }

    /// The documents' sizes: 100 permutations, patches to 512, 9·512 → 4096 → 100. (The paper: patches to 1024, the same 4096, sets of
    /// up to 1000, best with 1000, section 4.2.)
    static member Default =
        {
            Permutations = 100
            Patch = LinearProjection 512
            Hidden = [ 4096 ]
            BatchNorm = false
        }

    /// The CPU-scale preset: patches to 64, a normalised hidden layer of 256.
    static member CpuCifar =
        {
            Permutations = 100
            Patch = LinearProjection 64
            Hidden = [ 256 ]
            BatchNorm = true
        }

    interface IMethod<PatchGrid> with
        member m.Build context =
            new SslResearch.Core.Methods.Jigsaw(
                context.Encoder,
                JigsawOptions(
                    m.Permutations,
                    Projection.build context.Encoder m.Patch,
                    List.toArray m.Hidden,
                    m.BatchNorm
                )
            )

        member _.Card =
            {
                Name = "jigsaw"
                Year = 2016
                Kind = Pretext
                Idea = "say in which order nine patches of an image were laid"
                Views = "3×3 patches of one view"
                Masking = "none"
                Negatives = "none"
                BatchSize = "little; one puzzle an image and step"
                Teacher = "none"
                Evaluated = "the encoder, on whole images; it was trained on patches"
                Equation = "−log softmax(g(z_π(1), …, z_π(9)))_π, π drawn from P permutations, mean over the batch"
                Source = "Noroozi and Favaro 2016"
                Differences =
                    [
                        "permutations: the paper starts its greedy choice at random; here at the identity, ties go to the largest least distance"
                        "the patches' vectors are permuted and not the patches, which is the same since each is encoded alone"
                    ]
            }

        member _.HasProjector = false

        member m.Facts =
            [
                "permutations", string m.Permutations
                "patch", Projection.describe m.Patch
                "classifier",
                [ yield! m.Hidden |> List.map string; string m.Permutations ]
                |> String.concat ", "
                "batch norm", (if m.BatchNorm then "yes" else "no")
            ]

        member m.Problems =
            [
                yield!
                    Problem.unless
                        (m.Permutations >= 2 && m.Permutations <= 362880)
                        "Permutations"
                        $"{m.Permutations}"
                        "Give 2 to 362880 (9!)"

                yield! Projection.problems m.Patch |> Problem.within "Patch"

                for i, width in List.indexed m.Hidden do
                    yield! Problem.atLeast 1 $"Hidden[{i}]" width
            ]

    static member Entry =
        MethodEntry.make<PatchGrid>
            Jigsaw.Default
            [ "default (documents)", Jigsaw.Default; "CPU-scale CIFAR-10", Jigsaw.CpuCifar ]
