namespace SslResearch

open SslResearch.Core.Views

/// One experiment: a value that can be copied with changes (`{ e with … }`), put on axes and run. Building it opens no file
/// and makes no tensor. The batch type ties the augmentation to the method.
type Experiment<'Views when 'Views: not struct and 'Views :> IViews> =
    {
        /// A label: it changes no result and is no part of a run's identity.
        Name: string
        Setting: Setting
        Augment: IAugmentation<'Views>
        Method: IMethod<'Views>
    }
