namespace SslResearch

open SslResearch.Core.Views

/// Any augmentation, of other images than the setting's: the encoder is trained on these, and scored on the setting's.
type TrainedOn<'Views when 'Views: not struct and 'Views :> IViews> =
    {
        /// They need no labels unless the method asks for them.
        Data: Data
        Augment: IAugmentation<'Views>
    }

    interface IAugmentation<'Views> with
        member a.Build(source, normalisation) = a.Augment.Build(source, normalisation)

        member a.Views = a.Augment.Views

        member a.Facts = ("trained on", Data.describe a.Data) :: a.Augment.Facts

        member a.WithViews views =
            { a with
                Augment = a.Augment.WithViews views
            }

    interface ITrainsOn with
        member a.Data = a.Data
        member a.Inner = a.Augment

[<AutoOpen>]
module TrainedOnForms =
    /// The views of an augmentation, made of this data.
    let trainedOn (data: Data) (augment: IAugmentation<'Views>) : IAugmentation<'Views> =
        { Data = data; Augment = augment }
