package artifact

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"github.com/provosthq/provost/host"
)

// What an artifact is in a registry. The module alone makes it one: what else
// there is comes along.
const (
	// TypeConnector is the type of the artifact, TypeSignature that of one that
	// refers to it and signs its module.
	TypeConnector = "application/vnd.provost.connector.v1"
	TypeSignature = "application/vnd.provost.connector.signature.v1"

	mediaModule      = "application/wasm"
	mediaManifest    = "application/vnd.provost.connector.manifest.v1+json"
	mediaDescription = "application/vnd.provost.connector.description.v1+json"
	mediaSBOM        = "application/vnd.cyclonedx+json"
	mediaSignature   = "application/vnd.provost.connector.signature.v1.minisig"
)

const (
	mostLayers     = 32
	mostDocument   = 4 << 20 // description and SBOM, each
	mostSignatures = 16
	mostPages      = 10
)

// parseIndex reads an artifact's manifest in a registry.
func parseIndex(b []byte) (m ocispec.Manifest, err error) {
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("its manifest can't be read: %w", err)
	}
	if m.MediaType != "" && m.MediaType != ocispec.MediaTypeImageManifest {
		return m, fmt.Errorf("it is of type %q, not %s; name the connector itself", m.MediaType, ocispec.MediaTypeImageManifest)
	}
	if len(m.Layers) > mostLayers {
		return m, fmt.Errorf("it has %d parts; a connector has at most %d", len(m.Layers), mostLayers)
	}
	for i, layer := range m.Layers {
		if !isDigest(string(layer.Digest)) || layer.Size < 0 {
			return m, fmt.Errorf("its part %d has the digest %q and the size %d; only SHA-256 is taken", i, layer.Digest, layer.Size)
		}
	}
	return m, nil
}

// layer is the one part of a type; ok is false where there is none.
func layer(m ocispec.Manifest, mediaType string) (found ocispec.Descriptor, ok bool, err error) {
	for _, one := range m.Layers {
		if one.MediaType != mediaType {
			continue
		}
		if ok {
			return found, false, fmt.Errorf("it has more than one part of type %s", mediaType)
		}
		found, ok = one, true
	}
	return found, ok, nil
}

// part is what a type of part may have and where it goes.
type part struct {
	mediaType string
	most      int64
	take      func(*Artifact, []byte) error
}

func parts(o Options) []part {
	return []part{
		{mediaModule, o.maxBytes(), func(a *Artifact, b []byte) error {
			a.Wasm, a.Digest = b, digestOf(b)
			return checkModule(a.Source, b)
		}},
		{mediaManifest, mostManifest, func(a *Artifact, b []byte) error {
			m, err := ParseManifest(b)
			if err != nil {
				return fmt.Errorf("its manifest %w", err)
			}
			if m.Module.Hash != "" && m.Module.Hash != a.Digest {
				return fmt.Errorf("its manifest is for the module %s, but it has %s", m.Module.Hash, a.Digest)
			}
			a.Wishes = m.Wishes
			return nil
		}},
		{mediaDescription, mostDocument, func(a *Artifact, b []byte) error { a.Description = b; return nil }},
		{mediaSBOM, mostDocument, func(a *Artifact, b []byte) error { a.SBOM = b; return nil }},
	}
}

// packed makes the artifact of what a registry gave.
func (b bundle) packed(src Source, o Options) (Artifact, error) {
	bad := func(err error) (Artifact, error) {
		var known *host.Error
		if errors.As(err, &known) {
			return Artifact{}, known
		}
		return Artifact{}, host.Errorf(host.InvalidInput, "%s: %w", src.Text, err)
	}
	if src.Digest != "" && src.Digest != "sha256:"+b.record.Manifest {
		return Artifact{}, host.Errorf(host.Unavailable, "%s: is not in the cache", src.Text)
	}
	index, ok := b.blob(b.record.Manifest, mostManifest)
	if !ok {
		return Artifact{}, host.Errorf(host.Unavailable, "%s: is not in the cache", src.Text)
	}
	m, err := parseIndex(index)
	if err != nil {
		return bad(err)
	}
	a := Artifact{Name: path.Base(src.Repository), Source: src.Text, Resolved: ociPrefix + src.Repository + "@sha256:" + b.record.Manifest}
	for _, p := range parts(o) {
		l, there, err := layer(m, p.mediaType)
		if err != nil {
			return bad(err)
		}
		if !there {
			continue
		}
		text, ok := b.blob(l.Digest.Encoded(), p.most)
		if !ok {
			return Artifact{}, host.Errorf(host.Unavailable, "%s: its part %s is not in the cache", src.Text, l.Digest)
		}
		if err := p.take(&a, text); err != nil {
			return bad(err)
		}
	}
	if a.Wasm == nil {
		return bad(fmt.Errorf("is no connector: it is of type %q and has no part of type %s", m.ArtifactType, mediaModule))
	}
	return a, nil
}

// fetchOCI asks a registry for an artifact and what signs it.
func (s *Store) fetchOCI(ctx context.Context, src Source, o Options) (bundle, error) {
	repo, err := s.repository(src, o.PlainHTTP)
	if err != nil {
		return bundle{}, err
	}
	fail := func(err error) (bundle, error) { return bundle{}, registryError(src, err) }
	b := s.bundle(record{Source: src.Text, FetchedAt: s.options.Now()})
	desc, r, err := repo.Manifests().FetchReference(ctx, src.reference())
	if err != nil {
		return fail(err)
	}
	defer r.Close()
	if desc.Size > mostManifest {
		return bundle{}, tooLarge(src.Text+": its manifest", mostManifest)
	}
	index, err := content.ReadAll(r, desc)
	if err != nil {
		return fail(err)
	}
	if b.record.Manifest = b.add(index); src.Digest != "" && src.Digest != "sha256:"+b.record.Manifest {
		return bundle{}, host.Errorf(host.InvalidInput, "%s: the registry answers with sha256:%s: it is not what was asked for", src.Text, b.record.Manifest)
	}
	m, err := parseIndex(index)
	if err != nil {
		return bundle{}, host.Errorf(host.InvalidInput, "%s: %w", src.Text, err)
	}
	for _, p := range parts(o) {
		l, there, err := layer(m, p.mediaType)
		if err != nil {
			return bundle{}, host.Errorf(host.InvalidInput, "%s: %w", src.Text, err)
		}
		if !there {
			continue
		}
		digest, err := b.fetch(ctx, repo, l, p.most)
		if err != nil {
			return fail(err)
		}
		if p.mediaType == mediaModule {
			b.record.Wasm = digest
		}
	}
	if b.record.Signatures, err = b.signatures(ctx, repo, desc); err != nil {
		return fail(err)
	}
	return b, nil
}

// fetch takes in one part, unless it is kept already.
func (b bundle) fetch(ctx context.Context, repo *remote.Repository, l ocispec.Descriptor, most int64) (digest string, err error) {
	digest = l.Digest.Encoded()
	if l.Size > most {
		return "", tooLarge("its part "+l.MediaType, most)
	}
	if _, ok := b.cache.blob(digest, most); ok {
		return digest, nil
	}
	r, err := repo.Blobs().Fetch(ctx, l)
	if err != nil {
		return "", err
	}
	defer r.Close()
	text, err := content.ReadAll(r, l)
	if err != nil {
		return "", fmt.Errorf("its part %s: %w", l.Digest, err)
	}
	return b.add(text), nil
}

// signatures takes in what refers to an artifact and signs it.
func (b bundle) signatures(ctx context.Context, repo *remote.Repository, subject ocispec.Descriptor) (digests []string, err error) {
	var found []ocispec.Descriptor
	err = repo.Referrers(ctx, subject, TypeSignature, func(list []ocispec.Descriptor) error {
		found = append(found, list...)
		if len(found) > mostSignatures {
			return tooLarge("its signatures", mostSignatures*mostSignature)
		}
		return nil
	})
	if errors.Is(err, errdef.ErrNotFound) {
		return nil, nil
	}
	for _, one := range found {
		if err != nil {
			break
		}
		var digest string
		if digest, err = b.signature(ctx, repo, one); digest != "" {
			digests = append(digests, digest)
		}
	}
	return slices.Compact(digests), err
}

// signature takes in one, "" for what is none: anybody may refer to an artifact.
func (b bundle) signature(ctx context.Context, repo *remote.Repository, one ocispec.Descriptor) (digest string, err error) {
	if one.Size > mostManifest {
		return "", nil
	}
	r, err := repo.Manifests().Fetch(ctx, one)
	if err != nil {
		return "", err
	}
	defer r.Close()
	text, err := content.ReadAll(r, one)
	if err != nil {
		return "", err
	}
	m, err := parseIndex(text)
	if err != nil {
		return "", nil
	}
	l, there, err := layer(m, mediaSignature)
	if err != nil || !there || l.Size > mostSignature {
		return "", nil
	}
	return b.fetch(ctx, repo, l, mostSignature)
}

// repository is where an artifact is, spoken to with the registry's own sign-in.
func (s *Store) repository(src Source, plainHTTP bool) (*remote.Repository, error) {
	repo, err := remote.NewRepository(src.Repository)
	if err != nil {
		return nil, host.Errorf(host.InvalidInput, "%s: %w", src.Text, err)
	}
	local := isLoopback(repo.Reference.Registry)
	repo.PlainHTTP = plainHTTP || local
	repo.MaxMetadataBytes, repo.ReferrerListMaxPages, repo.TagListMaxPages = mostManifest, mostPages, mostPages
	client := &auth.Client{Client: s.client(!repo.PlainHTTP), Cache: auth.NewCache(), Credential: s.options.Credential,
		Header: http.Header{"User-Agent": {"provost"}}}
	if local {
		client.BlockedRealmPrefixes = []netip.Prefix{} // its sign-in is here too
	}
	repo.Client = client
	return repo, nil
}

func isLoopback(registry string) bool {
	name, _, err := net.SplitHostPort(registry)
	if err != nil {
		name = registry
	}
	if name == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(name, "[]"))
	return err == nil && addr.IsLoopback()
}

// registryError says what a registry's answer means.
func registryError(src Source, err error) error {
	var known *host.Error
	if errors.As(err, &known) {
		return host.Errorf(known.Code, "%s: %s", src.Text, known.Message)
	}
	var answer *errcode.ErrorResponse
	switch {
	case errors.As(err, &answer):
		code, hint := host.Unavailable, ""
		switch answer.StatusCode {
		case http.StatusUnauthorized, http.StatusForbidden:
			code, hint = host.Unauthorized, "; sign in with docker login, or set DOCKER_AUTH_CONFIG"
		case http.StatusNotFound:
			code = host.NotFound
		case http.StatusTooManyRequests:
			code = host.RateLimited
		}
		return host.Errorf(code, "%s: the registry answers %d %s%s", src.Text, answer.StatusCode, http.StatusText(answer.StatusCode), hint)
	case errors.Is(err, errdef.ErrNotFound):
		return host.Errorf(host.NotFound, "%s: the registry has no such artifact", src.Text)
	case errors.Is(err, auth.ErrBasicCredentialNotFound):
		return host.Errorf(host.Unauthorized, "%s: the registry wants a sign-in; use docker login, or set DOCKER_AUTH_CONFIG", src.Text)
	case errors.Is(err, content.ErrMismatchedDigest), errors.Is(err, content.ErrTrailingData), errors.Is(err, content.ErrInvalidDescriptorSize):
		return host.Errorf(host.InvalidInput, "%s: the registry answers with something else than it named: %w; it was changed, there or on the way", src.Text, err)
	default:
		return host.Errorf(host.Unavailable, "%s: the registry can't be asked: %w", src.Text, withoutAddress(err))
	}
}

// DockerCredential is the sign-in at a registry as docker's own tools find it:
// DOCKER_AUTH_CONFIG, else the file config.json and its helpers.
func DockerCredential() func(ctx context.Context, registry string) (auth.Credential, error) {
	return func(ctx context.Context, registry string) (auth.Credential, error) {
		var stores []credentials.Store
		if text := os.Getenv("DOCKER_AUTH_CONFIG"); text != "" {
			m, err := credentials.NewMemoryStoreFromDockerConfig([]byte(text))
			if err != nil {
				return auth.EmptyCredential, host.Errorf(host.InvalidInput, "DOCKER_AUTH_CONFIG: is no configuration of docker's with auths")
			}
			stores = append(stores, m)
		}
		file, err := credentials.NewStoreFromDocker(credentials.StoreOptions{})
		if err != nil && len(stores) == 0 {
			return auth.EmptyCredential, host.Errorf(host.InvalidInput, "the configuration of docker can't be read: %w", err)
		}
		if err == nil {
			stores = append(stores, file)
		}
		return credentials.Credential(credentials.NewStoreWithFallbacks(stores[0], stores[1:]...))(ctx, registry)
	}
}
