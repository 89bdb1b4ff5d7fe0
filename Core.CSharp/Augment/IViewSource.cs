namespace SslResearch.Core.Augment;

/// <summary>An augmenter whose views can be drawn and looked at one by one.</summary>
public interface IViewSource
{
    /// <summary>The pipeline of each view, in the order of the views' numbers in <see cref="ViewPipeline.Draw"/>.</summary>
    IReadOnlyList<ViewPipeline> Views { get; }
}
