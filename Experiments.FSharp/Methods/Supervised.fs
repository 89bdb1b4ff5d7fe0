namespace SslResearch

open SslResearch.Core.Methods
open SslResearch.Core.Views

/// Cross-entropy on the labels: the baseline that uses what self-supervision must do without.
type Supervised =
    | Supervised

    interface IMethod<LabelledView> with
        member _.Build context =
            new SslResearch.Core.Methods.Supervised(context.Encoder, context.Classes)


        member _.Card =
            {
                Name = "supervised"
                Year = 0
                Kind = Baseline
                Idea = "cross-entropy on the labels"
                Views = "one view with its label"
                Masking = "none"
                Negatives = "none"
                BatchSize = "little"
                Teacher = "none"
                Evaluated = "the encoder"
                Equation = "−log softmax(W h)_y, mean over the batch"
                Source = "baseline"
                Differences = []
            }

        member _.HasProjector = false
        member _.Facts = []
        member _.Problems = []

    static member Entry = MethodEntry.make<LabelledView> Supervised [ "default", Supervised ]
