package artifact

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"aead.dev/minisign"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/memory"
	"oras.land/oras-go/v2/errdef"

	"github.com/provosthq/provost/host"
)

// Package is what [Store.Push] brings to a registry.
type Package struct {
	// Artifact is the module, with its signatures and wishes.
	Artifact Artifact
	// Name, Version, Vendor and Summary are what the module says of itself;
	// Description is all of that, as JSON.
	Name, Version, Vendor, Summary string
	Description                    []byte
}

// Pushed is where a package is now.
type Pushed struct {
	// Source pins it: oci://registry/repository:tag@sha256:….
	Source string
	// Digest is that of the package, with "sha256:" before it; Signatures are those
	// of what was attached to it.
	Digest     string
	Signatures []string
}

// mostPush bounds a push as a whole.
const mostPush = 10 * time.Minute

// Push brings a package to a registry under a tag: the module, what it says of
// itself, a list of what it is made of, and what it asks for; its signature
// refers to it. The tag is set last: whoever asks for it meanwhile gets what was
// there before. The same package pushed twice is the same.
func (s *Store) Push(ctx context.Context, reference string, p Package, plainHTTP bool) (Pushed, error) {
	src, err := ParseSource(ociPrefix+strings.TrimPrefix(reference, ociPrefix), "")
	if err != nil {
		return Pushed{}, err
	}
	if src.Tag == "" || src.Digest != "" {
		return Pushed{}, host.Errorf(host.InvalidInput, "%s: names no tag to push to; write registry/repository:tag", reference)
	}
	for _, text := range p.Artifact.Signatures {
		if err := p.fits(text); err != nil {
			return Pushed{}, err
		}
	}
	repo, err := s.repository(src, plainHTTP)
	if err != nil {
		return Pushed{}, err
	}
	repo.SkipReferrersGC = true // not every registry deletes
	ctx, cancel := context.WithTimeout(ctx, mostPush)
	defer cancel()
	from := memory.New()
	packed, err := p.pack(ctx, from)
	if err != nil {
		return Pushed{}, host.Errorf(host.Internal, "pack %s: %w", p.Name, err)
	}
	out := Pushed{Source: ociPrefix + src.Repository + ":" + src.Tag + "@" + packed.Digest.String(), Digest: packed.Digest.String()}
	if err := oras.CopyGraph(ctx, from, repo, packed, oras.DefaultCopyGraphOptions); err != nil {
		return Pushed{}, registryError(src, err)
	}
	for _, text := range p.Artifact.Signatures {
		signature, err := p.packSignature(ctx, from, packed, text)
		if err != nil {
			return Pushed{}, host.Errorf(host.Internal, "pack the signature of %s: %w", p.Name, err)
		}
		if err := oras.CopyGraph(ctx, from, repo, signature, oras.DefaultCopyGraphOptions); err != nil {
			return Pushed{}, registryError(src, err)
		}
		out.Signatures = append(out.Signatures, signature.Digest.String())
	}
	if err := repo.Tag(ctx, packed, src.Tag); err != nil {
		return Pushed{}, registryError(src, err)
	}
	return out, nil
}

// fits refuses a signature that would be refused wherever it is pulled. Whose it
// is can't be known here.
func (p Package) fits(text []byte) error {
	var sig minisign.Signature
	if err := sig.UnmarshalText(text); err != nil {
		return host.Errorf(host.InvalidInput, "%s: is no minisign signature; make it anew with provost plugin sign, or take it away", p.Artifact.SignaturePath)
	}
	c, err := parseComment(sig.TrustedComment)
	switch {
	case err != nil:
		return host.Errorf(host.InvalidInput, "%s: %w", p.Artifact.SignaturePath, err)
	case c.name != p.Name || c.version != p.Version:
		return host.Errorf(host.InvalidInput, "%s: is for %s %s, but the module is %s %s; sign it anew with provost plugin sign", p.Artifact.SignaturePath, c.name, c.version, p.Name, p.Version)
	case c.wishes != p.Artifact.Wishes.Digest():
		return host.Errorf(host.InvalidInput, "%s: is for another manifest, or for none; sign the folder or the manifest with provost plugin sign", p.Artifact.SignaturePath)
	}
	return nil
}

// pack puts the parts together.
func (p Package) pack(ctx context.Context, to *memory.Store) (ocispec.Descriptor, error) {
	info, a := buildInfo(p.Artifact.Wasm), p.Artifact
	sbom, err := NewSBOM(a.Wasm, p.Name, p.Version, p.Vendor)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	manifest, err := a.Wishes.manifest(p.Name+moduleSuffix, a.Digest)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	var layers []ocispec.Descriptor
	for _, part := range []struct {
		mediaType, title string
		text             []byte
	}{
		{mediaModule, p.Name + moduleSuffix, a.Wasm}, {mediaManifest, ManifestName, manifest},
		{mediaDescription, "description.json", p.Description}, {mediaSBOM, p.Name + ".cdx.json", sbom},
	} {
		desc, err := oras.PushBytes(ctx, to, part.mediaType, part.text)
		if err != nil {
			return desc, fmt.Errorf("%s: %w", part.title, err)
		}
		desc.Annotations = map[string]string{ocispec.AnnotationTitle: part.title}
		layers = append(layers, desc)
	}
	annotations := map[string]string{
		ocispec.AnnotationCreated: builtAt(info).Format(time.RFC3339), ocispec.AnnotationTitle: p.Name, ocispec.AnnotationVersion: p.Version,
	}
	for key, value := range map[string]string{ocispec.AnnotationVendor: p.Vendor, ocispec.AnnotationDescription: p.Summary} {
		if value != "" {
			annotations[key] = value
		}
	}
	return oras.PackManifest(ctx, to, oras.PackManifestVersion1_1, TypeConnector, oras.PackManifestOptions{Layers: layers, ManifestAnnotations: annotations})
}

// packSignature makes what refers to the package and signs its module.
func (p Package) packSignature(ctx context.Context, to *memory.Store, packed ocispec.Descriptor, text []byte) (ocispec.Descriptor, error) {
	layer, err := oras.PushBytes(ctx, to, mediaSignature, text)
	if err != nil {
		return layer, err
	}
	layer.Annotations = map[string]string{ocispec.AnnotationTitle: p.Name + moduleSuffix + SignatureSuffix}
	// Registries of before OCI 1.1 go by the type of the config, not of the artifact.
	empty := ocispec.DescriptorEmptyJSON.Data
	config := content.NewDescriptorFromBytes(TypeSignature, empty)
	if err := to.Push(ctx, config, bytes.NewReader(empty)); err != nil && !errors.Is(err, errdef.ErrAlreadyExists) {
		return config, err
	}
	return oras.PackManifest(ctx, to, oras.PackManifestVersion1_1, TypeSignature, oras.PackManifestOptions{Subject: &packed, ConfigDescriptor: &config, Layers: []ocispec.Descriptor{layer},
		ManifestAnnotations: map[string]string{ocispec.AnnotationCreated: builtAt(buildInfo(p.Artifact.Wasm)).Format(time.RFC3339)}})
}

// File is one that [Artifact.Files] names.
type File struct {
	Name string
	Text []byte
}

// Files are what an artifact is kept as in a folder under a name: the module, its
// signature, its list of parts, and a manifest where it asks for anything; the
// module is the last.
func (a Artifact) Files(name string) ([]File, error) {
	var files []File
	if len(a.Signatures) > 0 {
		files = append(files, File{name + moduleSuffix + SignatureSuffix, a.Signatures[0]})
	}
	if a.SBOM != nil {
		files = append(files, File{name + ".cdx.json", a.SBOM})
	}
	if !a.Wishes.IsZero() {
		text, err := a.Wishes.manifest(name+moduleSuffix, a.Digest)
		if err != nil {
			return nil, host.Errorf(host.Internal, "the manifest of %s: %w", name, err)
		}
		files = append(files, File{name + ".json", append(text, '\n')})
	}
	return append(files, File{name + moduleSuffix, a.Wasm}), nil
}

// WriteFile puts a file that everybody may read in its place whole: whoever reads
// sees the one before or this one.
func WriteFile(path string, text []byte) error {
	if err := write(path, text, 0o644, 0o755); err != nil {
		return host.Errorf(host.InvalidInput, "%w", err)
	}
	return nil
}
