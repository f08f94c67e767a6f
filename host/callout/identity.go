package callout

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"sync"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/secret"
	"github.com/provosthq/provost/host/signin"
)

// identity is a client certificate with its key, both of one secret, which is
// read again when it changes.
type identity struct {
	secret, password *secret.Source

	mu      sync.Mutex
	seen    [sha256.Size]byte
	current *tls.Certificate
}

// newIdentity checks where an identity comes from; with read also what it is.
func newIdentity(credential string, k signin.Key, o secret.Options, read bool) (*identity, error) {
	i := &identity{}
	for _, one := range []struct {
		to   **secret.Source
		from signin.Secret
	}{{&i.secret, k.Secret}, {&i.password, k.Password}} {
		if !one.from.Ref.IsSet() || !read && o.Sealer == nil && one.from.Ref.Sealed != "" {
			continue
		}
		o.Binding = signin.Binding(credential, one.from.Path)
		source, err := secret.Open(one.from.Ref, o)
		if err != nil {
			return nil, err
		}
		*one.to = source
	}
	if !read {
		return i, nil
	}
	_, err := i.read(context.Background())
	return i, err
}

// get is for [tls.Config.GetClientCertificate].
func (i *identity) get(r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return i.read(r.Context())
}

func (i *identity) read(ctx context.Context) (*tls.Certificate, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	var texts [2]string
	for n, source := range []*secret.Source{i.secret, i.password} {
		if source == nil {
			continue
		}
		values, err := source.Values(ctx)
		if err != nil {
			return nil, host.Errorf(host.CodeOf(err), "client certificate: %w", err)
		}
		texts[n] = values[0].Reveal()
	}
	seen := sha256.Sum256([]byte(texts[0] + "\x00" + texts[1]))
	if i.current != nil && seen == i.seen {
		return i.current, nil
	}
	key, certificates, err := signin.ParseKey([]byte(texts[0]), texts[1])
	if err != nil {
		return nil, host.Errorf(host.InvalidInput, "client certificate: %w", err)
	}
	next := &tls.Certificate{PrivateKey: key}
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	for _, c := range certificates {
		if ok && next.Leaf == nil && public.Equal(c.PublicKey) { // the others lead from it to its authority
			next.Leaf, next.Certificate = c, append([][]byte{c.Raw}, next.Certificate...)
			continue
		}
		next.Certificate = append(next.Certificate, c.Raw)
	}
	if next.Leaf == nil {
		return nil, host.Errorf(host.InvalidInput, "client certificate: beside the key stands no certificate of it")
	}
	i.seen, i.current = seen, next
	return next, nil
}
