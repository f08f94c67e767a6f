package reconcile_test

import (
	"testing"

	"github.com/provosthq/provost/host/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }
