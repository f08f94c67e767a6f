package signin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/provosthq/provost/host"
)

// AWSConfig is for [AWS]. Without an access key the usual chain of the
// environment is asked: variables, shared files, web identity, the container,
// the machine.
type AWSConfig struct {
	Region, Service string
	AccessKeyID     string
	// RoleARN is assumed with the keys, where it is given.
	RoleARN, ExternalID, SessionName string
	// STSEndpoint is that of the token service; "" is the region's.
	STSEndpoint string
}

// awsSigner signs requests with AWS Signature Version 4.
type awsSigner struct {
	AWSConfig
	keys   aws.CredentialsProvider
	signer *v4.Signer
}

// newAWS makes a signer. static gives the keys of the configuration; nil is the
// chain of the environment. Calls to the token service go through client.
func newAWS(c AWSConfig, static aws.CredentialsProvider, client *http.Client) (*awsSigner, error) {
	if c.Region == "" || c.Service == "" {
		return nil, host.Errorf(host.InvalidInput, "AWS signatures are for one region and one service; one of them is missing")
	}
	options := []func(*config.LoadOptions) error{config.WithRegion(c.Region)}
	if static != nil {
		options = append(options, config.WithCredentialsProvider(static))
	}
	all, err := config.LoadDefaultConfig(context.Background(), options...)
	if err != nil {
		return nil, host.Errorf(host.InvalidInput, "the AWS configuration of the environment can't be read: %w", err)
	}
	s := &awsSigner{AWSConfig: c, keys: all.Credentials, signer: v4.NewSigner(func(o *v4.SignerOptions) {
		o.DisableURIPathEscaping = strings.EqualFold(c.Service, "s3")
	})}
	if c.RoleARN == "" {
		return s, nil
	}
	tokens := sts.NewFromConfig(all, func(o *sts.Options) {
		o.HTTPClient = client
		if c.STSEndpoint != "" {
			o.BaseEndpoint = &c.STSEndpoint
		}
	})
	s.keys = aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(tokens, c.RoleARN, func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName = orElse(c.SessionName, "provost")
		if c.ExternalID != "" {
			o.ExternalID = &c.ExternalID
		}
	}), func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = time.Minute })
	return s, nil
}

// emptyHash is the digest of no body.
var emptyHash = hex.EncodeToString(sha256.New().Sum(nil))

func (s *awsSigner) sign(ctx context.Context, r *http.Request, body []byte, now time.Time) error {
	keys, err := s.keys.Retrieve(ctx)
	if err != nil {
		return host.Errorf(host.Unauthorized, "there are no AWS keys: %w", err)
	}
	hash := emptyHash
	if len(body) > 0 {
		sum := sha256.Sum256(body)
		hash = hex.EncodeToString(sum[:])
	}
	if strings.EqualFold(s.Service, "s3") {
		r.Header.Set("X-Amz-Content-Sha256", hash)
	}
	return s.signer.SignHTTP(ctx, keys, r, hash, s.Service, s.Region, now)
}
