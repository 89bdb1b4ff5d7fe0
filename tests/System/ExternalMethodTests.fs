/// A method made outside the repository, from the packages alone: one class, one record, nothing of ours edited.
module Tests.Framework.ExternalMethodTests

open System
open System.IO
open System.Text.Json
open Expecto
open Tests.Support

let private methodClass =
    """
using SslResearch.Core.Methods;
using SslResearch.Core.Models;
using SslResearch.Core.Views;
using TorchSharp;

namespace Toy;

/// <summary>Views of an image attract each other; a hinge keeps each dimension's deviation at 1.</summary>
public sealed class AlignmentMethod(Backbone encoder, double weight) : ISslMethod<TwoViews>
{
    public Backbone Encoder => encoder;

    public torch.nn.Module<torch.Tensor, torch.Tensor>? Projector => null;

    public IReadOnlyList<(string Prefix, torch.nn.Module Module)> Trained { get; } = [("encoder", encoder)];

    public IReadOnlyList<MovingAverage> Teachers => [];

    public IReadOnlyDictionary<string, torch.Tensor> State { get; } = new Dictionary<string, torch.Tensor>();

    public LossLevels Levels(int batchSize) => new(null, weight);

    public StepOutput Forward(TwoViews views, in StepContext context)
    {
        var h = encoder.call(views.Both); // (2N, d)
        var n = views.Count;
        var alignment = (h.narrow(0, 0, n) - h.narrow(0, n, n)).square().mean();
        var deviation = (h.var(0) + 1e-4).sqrt();
        var spread = torch.nn.functional.relu(1 - deviation).mean();
        return new StepOutput(alignment + (weight * spread), h.detach());
    }

    public void AfterUpdate(in StepContext context)
    {
    }

    public void Dispose() => encoder.Dispose();
}
"""

let private study =
    """
module Study

open SslResearch
open SslResearch.Core.Views

type Alignment =
    { Weight: float }

    interface IMethod<TwoViews> with
        member m.Build context = new Toy.AlignmentMethod(context.Encoder, m.Weight)
        member _.Card = 
            { Name = "toy alignment"; Year = 0; Kind = RedundancyReduction; Idea = "views attract, a hinge spreads"
              Views = "two views"; Masking = "none"; Negatives = "none"; BatchSize = "little"; Teacher = "none"
              Evaluated = "the encoder"; Equation = "mean (a - b)² + weight · mean max(0, 1 - std)"; Source = "a test"; Differences = [] }
        member _.HasProjector = false
        member m.Facts = [ "weight", string m.Weight ]
        member m.Problems = Problem.positive "Weight" m.Weight

let setting =
    { Data = Shapes { Train = 256; Test = 64; Size = 16; Seed = 1UL; Statistics = Independent }
      Backbone = SmallResNet
      Train = { Train.CpuScale with Epochs = 1; BatchSize = 64 }
      Protocols = [ Knn(k = 5, temperature = 0.1) ]
      Seeds = [ 0 ] }

let toy =
    { Name = "toy row"
      Setting = setting
      Augment = twoViews [ ResizedCrop(0.5, 1.0); Flip 0.5 ]
      Method = { Weight = 1.0 } }

let recipe =
    { Name = "toy"
      Summary = "a method from outside"
      Tables = [ Table.compare "Toy" [ Run.randomInit setting; Run.ofExperiment toy ] setting.Protocols ] }

[<EntryPoint>]
let main argv = Cli.main [ recipe ] argv
"""

let private project references extra =
    $"""<Project Sdk="Microsoft.NET.Sdk">
  <PropertyGroup>
    <TargetFramework>net10.0</TargetFramework>
    <ImplicitUsings>enable</ImplicitUsings>
    <Nullable>enable</Nullable>
    <InvariantGlobalization>true</InvariantGlobalization>
    <SatelliteResourceLanguages>en</SatelliteResourceLanguages>
    {extra}
  </PropertyGroup>
  <ItemGroup>
    {references}
  </ItemGroup>
</Project>"""

/// The packages that the user's cache holds serve as they lie there; ours go into a folder that is thrown away.
let private buildProperties folder =
    let cache =
        match Environment.GetEnvironmentVariable "NUGET_PACKAGES" with
        | null
        | "" -> Path.Combine(Environment.GetFolderPath Environment.SpecialFolder.UserProfile, ".nuget", "packages")
        | given -> given

    $"""<Project>
  <PropertyGroup>
    <RestorePackagesPath>{folder}/packages</RestorePackagesPath>
    <RestoreFallbackFolders>{cache}</RestoreFallbackFolders>
    <RestoreAdditionalProjectSources>{folder}/feed</RestoreAdditionalProjectSources>
    <CreateHardLinksForCopyLocalIfPossible>true</CreateHardLinksForCopyLocalIfPossible>
  </PropertyGroup>
</Project>"""

let private succeed what (outcome: Repository.Outcome) =
    Expect.equal outcome.Code 0 $"{what}\n{outcome.All}"
    outcome

[<Tests>]
let tests =
    testList
        "external method"
        [
            test "a toy method works from the packages alone" {
                Repository.inFolder (fun folder ->
                    let at parts = Path.Combine(folder, parts)

                    for name in [ "Core.CSharp"; "Experiments.FSharp" ] do
                        [
                            "pack"
                            name
                            "--no-build"
                            "-c"
                            Repository.configuration
                            "--nologo"
                            "-o"
                            at "feed"
                        ]
                        |> Repository.run Repository.root "dotnet"
                        |> succeed $"packing {name}"
                        |> ignore

                    Directory.CreateDirectory(at "Toy") |> ignore
                    Directory.CreateDirectory(at "Study") |> ignore
                    File.WriteAllText(at "Directory.Build.props", buildProperties folder)
                    File.WriteAllText(at "Toy/AlignmentMethod.cs", methodClass)

                    File.WriteAllText(
                        at "Toy/Toy.csproj",
                        project """<PackageReference Include="SslResearch.Core" Version="0.1.0" />""" ""
                    )

                    File.WriteAllText(at "Study/Study.fs", study)

                    File.WriteAllText(
                        at "Study/Study.fsproj",
                        project
                            """<Compile Include="Study.fs" />
    <PackageReference Include="SslResearch" Version="0.1.0" />
    <ProjectReference Include="../Toy/Toy.csproj" />"""
                            "<OutputType>Exe</OutputType>"
                    )

                    [ "build"; at "Study"; "--nologo"; "-v"; "quiet" ]
                    |> Repository.run folder "dotnet"
                    |> succeed "building"
                    |> ignore

                    let run =
                        [
                            at "Study/bin/Debug/net10.0/Study.dll"
                            "run"
                            "toy"
                            "--results"
                            at "results"
                            "--data"
                            at "data"
                        ]
                        |> Repository.run folder "dotnet"
                        |> succeed "running"

                    Expect.stringContains run.Output "toy row" "the row is printed"
                    let table = File.ReadAllText(at "results/toy/table.md")
                    let row = table.Split '\n' |> Array.find _.Contains("toy row")
                    Expect.isTrue (row |> Seq.exists Char.IsDigit) $"a score in the row: {row}"

                    let stored =
                        File.ReadAllLines(at "results/toy/runs.jsonl")
                        |> Array.map (fun line -> (JsonDocument.Parse line).RootElement.ToString())

                    Expect.hasLength stored 2 "both runs are stored"
                    Expect.exists stored _.Contains("toy row") "with the toy's record")
            }
        ]
