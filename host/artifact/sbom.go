package artifact

import (
	"bytes"
	"net/url"
	"runtime/debug"
	"sort"
	"time"

	cyclonedx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/uuid"

	"github.com/provosthq/provost/host"
)

// The marks between which Go's linker puts what a program was built of
// (runtime/debug). debug/buildinfo looks for them in the executables of systems,
// of which WebAssembly is none.
var (
	buildInfoBegin = []byte("\x30\x77\xaf\x0c\x92\x74\x08\x02\x41\xe1\xc1\x07\xe6\xd6\x18\xe6")
	buildInfoEnd   = []byte("\xf9\x32\x43\x31\x86\x18\x20\x72\x00\x82\x42\x10\x41\x16\xd8\xf2")
)

const mostBuildInfo = 1 << 20

// buildInfo is what a module that was written in Go was built of; nil where it
// does not say.
func buildInfo(wasm []byte) *debug.BuildInfo {
	_, rest, ok := bytes.Cut(wasm, buildInfoBegin)
	if !ok {
		return nil
	}
	rest = rest[:min(len(rest), mostBuildInfo)]
	text, _, ok := bytes.Cut(rest, buildInfoEnd)
	if !ok {
		return nil
	}
	info, err := debug.ParseBuildInfo(string(text))
	if err != nil {
		return nil
	}
	return info
}

// builtAt is the time of the sources that a module was built of, else that of
// no clock: a package that is made twice of the same is the same.
func builtAt(info *debug.BuildInfo) time.Time {
	if info != nil {
		for _, s := range info.Settings {
			if s.Key == "vcs.time" {
				if t, err := time.Parse(time.RFC3339, s.Value); err == nil {
					return t.UTC()
				}
			}
		}
	}
	return time.Unix(0, 0).UTC()
}

// NewSBOM makes the list of what a module is made of, in CycloneDX's JSON: the
// modules that Go built it of where it says so, else the module alone.
func NewSBOM(wasm []byte, name, version, vendor string) ([]byte, error) {
	info := buildInfo(wasm)
	bom := cyclonedx.NewBOM()
	// One module has one list, and its number follows from it.
	bom.SerialNumber = "urn:uuid:" + uuid.NewSHA1(uuid.NameSpaceOID, wasm).String()
	main := cyclonedx.Component{BOMRef: name, Type: cyclonedx.ComponentTypeApplication, Name: name, Version: version, MIMEType: mediaModule,
		Hashes: &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: digestOf(wasm)}}}
	if vendor != "" {
		main.Supplier = &cyclonedx.OrganizationalEntity{Name: vendor}
	}
	bom.Metadata = &cyclonedx.Metadata{Timestamp: builtAt(info).Format(time.RFC3339), Component: &main,
		Tools: &cyclonedx.ToolsChoice{Components: &[]cyclonedx.Component{{Type: cyclonedx.ComponentTypeApplication, Name: "provost"}}}}
	components, refs := []cyclonedx.Component{}, []string{}
	add := func(kind cyclonedx.ComponentType, path, version string) {
		purl := "pkg:golang/" + path
		if version != "" {
			purl += "@" + url.PathEscape(version)
		}
		components, refs = append(components, cyclonedx.Component{BOMRef: purl, Type: kind, Name: path, Version: version, PackageURL: purl}), append(refs, purl)
	}
	if info != nil {
		add(cyclonedx.ComponentTypeLibrary, "std", info.GoVersion)
		if info.Main.Path != "" {
			add(cyclonedx.ComponentTypeLibrary, info.Main.Path, info.Main.Version)
		}
		for _, d := range info.Deps {
			if d.Replace != nil {
				d = d.Replace
			}
			add(cyclonedx.ComponentTypeLibrary, d.Path, d.Version)
		}
	}
	sort.Slice(components, func(i, j int) bool { return components[i].BOMRef < components[j].BOMRef })
	sort.Strings(refs)
	bom.Components = &components
	bom.Dependencies = &[]cyclonedx.Dependency{{Ref: name, Dependencies: &refs}}
	whole := cyclonedx.CompositionAggregateComplete
	if info == nil {
		whole = cyclonedx.CompositionAggregateUnknown
	}
	bom.Compositions = &[]cyclonedx.Composition{{Aggregate: whole, Dependencies: &[]cyclonedx.BOMReference{cyclonedx.BOMReference(name)}}}
	var b bytes.Buffer
	if err := cyclonedx.NewBOMEncoder(&b, cyclonedx.BOMFileFormatJSON).SetPretty(true).SetEscapeHTML(false).EncodeVersion(bom, cyclonedx.SpecVersion1_6); err != nil {
		return nil, host.Errorf(host.Internal, "the SBOM can't be written: %w", err)
	}
	return b.Bytes(), nil
}
