;; A connector that keeps what it is given: "hide" puts its input everywhere that a module can write to, "find" tells all
;; that can be read. See the tests of what a call leaves behind.
(module
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "free" (func $free (param i64)))
  (import "extism:host/env" "load_u8" (func $load_u8 (param i64) (result i32)))
  (import "extism:host/env" "store_u8" (func $store_u8 (param i64 i32)))
  (import "extism:host/env" "length" (func $length (param i64) (result i64)))
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "input_length" (func $input_length (result i64)))
  (import "extism:host/env" "input_load_u8" (func $input_load_u8 (param i64) (result i32)))
  (import "extism:host/env" "input_load_u64" (func $input_load_u64 (param i64) (result i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (import "extism:host/env" "error_set" (func $error_set (param i64)))
  (import "extism:host/env" "error_get" (func $error_get (result i64)))
  (import "extism:host/env" "var_set" (func $var_set (param i64 i64)))
  (import "extism:host/env" "var_get" (func $var_get (param i64) (result i64)))
  (import "extism:host/env" "config_get" (func $config_get (param i64) (result i64)))
  (import "extism:host/env" "http_request" (func $http_request (param i64 i64) (result i64)))
  (import "extism:host/env" "http_status_code" (func $http_status_code (result i32)))
  (import "extism:host/env" "http_headers" (func $http_headers (result i64)))
  (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_renumber" (func $fd_renumber (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $fd_fdstat_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_fdstat_set_flags" (func $fd_fdstat_set_flags (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))

  (memory $memory (export "memory") 4 64)
  (data (i32.const 1024) "as it was in the beginning")
  (data $passive0 "passive 0") (data $passive1 "passive 1") (data $passive2 "passive 2") (data $passive3 "passive 3")

  (type $id (func (result i32)))
  (table $bits 8 64 funcref)
  (table $more 2 64 funcref)
  (table $foreign 2 64 externref)
  (elem (table $bits) (i32.const 0) func $zero $one $zero $one)
  (elem $elem0 func $one $one) (elem $elem1 func $one $one)
  (func $zero (type $id) (i32.const 48))
  (func $one (type $id) (i32.const 49))

  (global $i32 (mut i32) (i32.const 7))
  (global $i64 (mut i64) (i64.const 7))
  (global $f32 (mut f32) (f32.const 7))
  (global $f64 (mut f64) (f64.const 7))
  (global $exported (export "kept") (mut i64) (i64.const 7))
  (global $begun (mut i64) (i64.const 0)) ;; what _initialize could see
  (elem declare func $zero $one)

  ;; _initialize runs before any call: what it can get hold of stays in every instance made from it.
  (func (export "_initialize") (local $at i64)
    (if (i64.ge_u (call $input_length) (i64.const 8)) (then (global.set $begun (call $input_load_u64 (i64.const 0)))))
    (local.set $at (call $config_get (call $name (i32.const 99))))
    (if (i64.ne (local.get $at) (i64.const 0)) (then (global.set $begun (i64.extend_i32_u (call $load_u8 (local.get $at)))))))

  (func $name (param $n i32) (result i64) (local $at i64) ;; a name of one byte in the host's memory
    (local.set $at (call $alloc (i64.const 1)))
    (call $store_u8 (local.get $at) (local.get $n))
    (local.get $at))

  (func $spread (param $at i32) (local $i i64) ;; the input to an address
    (loop
      (i32.store8 (i32.add (local.get $at) (i32.wrap_i64 (local.get $i))) (call $input_load_u8 (local.get $i)))
      (br_if 0 (i64.lt_u (local.tee $i (i64.add (local.get $i) (i64.const 1))) (call $input_length)))))

  (func $hide (local $word i64) (local $pages i32) (local $i i32) (local $at i64)
    (local.set $word (call $input_load_u64 (i64.const 0)))
    ;; memory: every page's beginning and end, over data segments, by store, fill, copy, init, vectors, across chunks
    (loop
      (call $spread (i32.mul (local.get $i) (i32.const 65536)))
      (call $spread (i32.add (i32.mul (local.get $i) (i32.const 65536)) (i32.const 65472)))
      (br_if 0 (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 4))))
    (call $spread (i32.const 1030))
    (call $spread (i32.const 4090)) (call $spread (i32.const 12280))
    (i64.store (i32.const 8188) (local.get $word)) (i64.store (i32.const 262136) (local.get $word))
    (i32.store16 (i32.const 20479) (i32.wrap_i64 (local.get $word)))
    (v128.store (i32.const 28664) (i64x2.splat (local.get $word)))
    (v128.store64_lane 1 (i32.const 36860) (i64x2.splat (local.get $word)))
    (memory.fill (i32.const 40000) (i32.wrap_i64 (local.get $word)) (i32.const 30000))
    (memory.copy (i32.const 100000) (i32.const 1024) (i32.const 9000))
    (memory.init $passive3 (i32.const 120000) (i32.const 0) (i32.const 9))
    (i32.store offset=131000 (i32.const 100) (i32.wrap_i64 (local.get $word)))
    (drop (call $random_get (i32.const 150000) (i32.const 5000))) ;; the host writes, too
    (drop (call $fd_fdstat_get (i32.const 1) (i32.const 163836)))
    ;; memory that was not there: how many pages, and in them
    (local.set $pages (i32.add (i32.and (i32.wrap_i64 (local.get $word)) (i32.const 15)) (i32.const 1)))
    (if (i32.ne (memory.grow (local.get $pages)) (i32.const -1)) (then
      (call $spread (i32.const 262144))
      (memory.fill (i32.const 262400) (i32.wrap_i64 (local.get $word)) (i32.const 4000))
      (call $spread (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 64)))))
    ;; globals
    (global.set $i32 (i32.wrap_i64 (local.get $word))) (global.set $i64 (local.get $word))
    (global.set $f32 (f32.reinterpret_i32 (i32.wrap_i64 (local.get $word)))) (global.set $f64 (f64.reinterpret_i64 (local.get $word)))
    (global.set $exported (local.get $word))
    (global.set $begun (local.get $word))
    ;; what the host keeps: vars, the error, the last HTTP answer, blocks and where the next one lies, descriptors
    (call $var_set (call $name (i32.const 118)) (call $input_offset))
    (call $error_set (call $input_offset))
    (drop (call $error_get))
    (call $error_set (i64.const 0))
    (local.set $at (call $request))
    (drop (call $http_request (local.get $at) (call $input_offset)))
    (call $free (call $alloc (i64.add (i64.and (local.get $word) (i64.const 65535)) (i64.const 1))))
    (drop (call $alloc (i64.add (i64.and (local.get $word) (i64.const 65535)) (i64.const 1))))
    (drop (call $fd_fdstat_set_flags (i32.const 2) (i32.const 4)))
    (drop (call $fd_renumber (i32.const 2) (i32.const 0)))
    (drop (call $fd_close (i32.const 1)))
    ;; part of a line, which would be the beginning of the next call's
    (call $spread (i32.const 200000))
    (i32.store (i32.const 300) (i32.const 200000)) (i32.store (i32.const 304) (i32.wrap_i64 (call $input_length)))
    (drop (call $fd_write (i32.const 0) (i32.const 300) (i32.const 1) (i32.const 308)))
    (drop (call $fd_write (i32.const 2) (i32.const 300) (i32.const 1) (i32.const 308)))
    (call $output_set (call $input_offset) (call $input_length)))

  (func $hide_tables (local $word i64) (local $i i32)
    (local.set $word (call $input_load_u64 (i64.const 0)))
    ;; tables: bits as functions, sizes, copies
    (table.grow $bits (ref.null func) (i32.add (i32.const 1) (i32.and (i32.wrap_i64 (local.get $word)) (i32.const 7)))) (drop)
    (loop
      (table.set $bits (local.get $i)
        (select (result funcref) (ref.func $one) (ref.func $zero) (i32.and (i32.shr_u (i32.wrap_i64 (local.get $word)) (local.get $i)) (i32.const 1))))
      (br_if 0 (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 8))))
    (table.copy $more $bits (i32.const 0) (i32.const 0) (i32.const 2))
    (table.init $more $elem1 (i32.const 0) (i32.const 0) (i32.const 2))
    (table.fill $more (i32.const 1) (ref.func $one) (i32.const 1))
    (table.grow $foreign (ref.null extern) (i32.const 3)) (drop)
    ;; segments: dropped or not
    (data.drop $passive1) (elem.drop $elem0))

  (data $json "{\22url\22:\22http://app/secret\22}")
  (func $request (result i64) (local $at i64) (local $i i32)
    (local.set $at (call $alloc (i64.const 27)))
    (memory.init $json (i32.const 250000) (i32.const 0) (i32.const 27))
    (loop
      (call $store_u8 (i64.add (local.get $at) (i64.extend_i32_u (local.get $i))) (i32.load8_u (i32.add (i32.const 250000) (local.get $i))))
      (br_if 0 (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 27))))
    (local.get $at))

  (func (export "hide") (call $hide))
  (func (export "hide_in_tables") (call $hide) (call $hide_tables))
  (func (export "hide_and_trap") (call $hide) (unreachable))
  (func (export "hide_and_fail") (call $hide) (call $error_set (call $input_offset)))
  (func (export "hide_and_return") (result i32) (call $hide) (i32.const 1))
  (func (export "hide_and_spin") (call $hide) (loop (br 0)))
  (func (export "hide_and_exit") (call $hide) (call $proc_exit (i32.const 0)))
  (func (export "hide_and_flood") (call $hide) (loop (drop (call $http_request (call $request) (i64.const 0))) (br 0)))
  (func $recurse (export "hide_and_recurse") (call $hide) (call $deeper))
  (func $deeper (call $deeper))
  ;; takes the memory to its end and fills it
  (func (export "hide_in_all") (call $hide)
    (loop (br_if 0 (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
    (memory.fill (i32.const 0) (call $input_load_u8 (i64.const 0)) (i32.mul (memory.size) (i32.const 65536))))

  ;; find: all that can be read, as the output. The host's part first, since the answer itself changes it.
  (global $out (mut i64) (i64.const 0))
  (global $outAt (mut i64) (i64.const 0))
  (func $tell (param $word i64) (local $i i64)
    (loop
      (call $store_u8 (i64.add (global.get $out) (global.get $outAt)) (i32.wrap_i64 (i64.shr_u (local.get $word) (i64.mul (local.get $i) (i64.const 8)))))
      (global.set $outAt (i64.add (global.get $outAt) (i64.const 1)))
      (br_if 0 (i64.lt_u (local.tee $i (i64.add (local.get $i) (i64.const 1))) (i64.const 8)))))
  (func $bit (param $n i32) (result i64) ;; what the function in an entry of $bits says, 0 for none
    (if (result i64) (ref.is_null (table.get $bits (local.get $n)))
      (then (i64.const 0)) (else (i64.extend_i32_u (call_indirect $bits (type $id) (local.get $n))))))
  (func $another (param $n i32) (result i64) ;; the same in $more
    (if (result i64) (ref.is_null (table.get $more (local.get $n)))
      (then (i64.const 0)) (else (i64.extend_i32_u (call_indirect $more (type $id) (local.get $n))))))
  (func $block (param $at i64) (local $i i64) ;; a block's length and contents
    (call $tell (call $length (local.get $at)))
    (block (loop
      (br_if 1 (i64.ge_u (local.get $i) (call $length (local.get $at))))
      (call $tell (i64.extend_i32_u (call $load_u8 (i64.add (local.get $at) (local.get $i)))))
      (local.set $i (i64.add (local.get $i) (i64.const 1)))
      (br 0))))
  (func (export "find") (local $i i32) (local $size i32) (local $where i64)
    (local.set $where (call $alloc (i64.const 1))) ;; where blocks begin tells what was allocated
    (local.set $size (memory.size))
    (global.set $out (call $alloc (i64.add (i64.const 65536) (i64.mul (i64.extend_i32_u (local.get $size)) (i64.const 65536)))))
    (call $tell (local.get $where)) (call $tell (global.get $out)) (call $tell (i64.extend_i32_u (local.get $size)))
    ;; the memory first, since the rest below may write to it
    (local.set $i (i32.const 0))
    (loop
      (call $tell (i64.load (local.get $i)))
      (br_if 0 (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 8))) (i32.mul (local.get $size) (i32.const 65536)))))
    ;; globals
    (call $tell (i64.extend_i32_u (global.get $i32))) (call $tell (global.get $i64))
    (call $tell (i64.extend_i32_u (i32.reinterpret_f32 (global.get $f32)))) (call $tell (i64.reinterpret_f64 (global.get $f64)))
    (call $tell (global.get $exported)) (call $tell (global.get $begun))
    ;; tables
    (call $tell (i64.extend_i32_u (table.size $bits))) (call $tell (i64.extend_i32_u (table.size $more))) (call $tell (i64.extend_i32_u (table.size $foreign)))
    (call $tell (call $another (i32.const 0))) (call $tell (call $another (i32.const 1)))
    (local.set $i (i32.const 0))
    (loop
      (call $tell (call $bit (local.get $i)))
      (br_if 0 (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (table.size $bits))))
    ;; what the host keeps
    (call $block (call $var_get (call $name (i32.const 118))))
    (call $block (call $error_get))
    (call $tell (i64.extend_i32_u (call $http_status_code)))
    (call $block (call $http_headers))
    ;; descriptors
    (local.set $i (i32.const 0))
    (loop
      (i64.store (i32.const 8) (i64.const 0)) (i64.store (i32.const 16) (i64.const 0)) (i64.store (i32.const 24) (i64.const 0))
      (call $tell (i64.extend_i32_u (call $fd_fdstat_get (local.get $i) (i32.const 8))))
      (call $tell (i64.load (i32.const 8))) (call $tell (i64.load (i32.const 16))) (call $tell (i64.load (i32.const 24)))
      (br_if 0 (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 8))))
    (call $output_set (global.get $out) (global.get $outAt)))
  ;; a dropped segment traps, so each has an export of its own
  (func (export "find_data") (memory.init $passive1 (i32.const 0) (i32.const 0) (i32.const 9)) (call $output_set (call $input_offset) (call $input_length)))
  (func (export "find_elem") (table.init $more $elem0 (i32.const 0) (i32.const 0) (i32.const 2)) (call $output_set (call $input_offset) (call $input_length)))
  (func (export "find_grown") (result i32) ;; what memory.grow gives must be zeros
    (local $i i32)
    (local.set $i (i32.mul (memory.grow (i32.const 20)) (i32.const 65536)))
    (block (loop
      (br_if 1 (i32.ge_u (local.get $i) (i32.mul (memory.size) (i32.const 65536))))
      (if (i64.ne (i64.load (local.get $i)) (i64.const 0)) (then (return (i32.const 1))))
      (local.set $i (i32.add (local.get $i) (i32.const 8)))
      (br 0)))
    (call $output_set (call $input_offset) (call $input_length))
    (i32.const 0))
  (func (export "random") (local $at i64) (local $i i32)
    (drop (call $random_get (i32.const 0) (i32.const 16)))
    (local.set $at (call $alloc (i64.const 16)))
    (loop
      (call $store_u8 (i64.add (local.get $at) (i64.extend_i32_u (local.get $i))) (i32.load8_u (local.get $i)))
      (br_if 0 (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 16))))
    (call $output_set (local.get $at) (i64.const 16)))
  (func (export "good") (call $output_set (call $input_offset) (call $input_length)))
)
