namespace SslResearch.Core.Views;

/// <summary>One batch as a method sees it. The concrete type is the contract between augmentation and method.</summary>
public interface IViews
{
    /// <summary>Number of images, not of views.</summary>
    long Count { get; }
}
