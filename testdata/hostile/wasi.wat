;; WASI asks for what is not there, with pointers that lead nowhere. A function's errno is the export's result: any but 0 is
;; an error of the guest's; a trap will do as well.
;; @limits time=300ms log_lines=50
;; @call path_open => guest|trap "returned|trapped"
;; @call path_open_absolute => guest|trap "returned|trapped"
;; @call path_unlink => guest|trap "returned|trapped"
;; @call fd_read_file => guest|trap "returned|trapped"
;; @call prestat => guest|trap "returned|trapped"
;; @call sock_accept => guest|trap "returned|trapped"
;; @call sock_recv => guest|trap "returned|trapped"
;; @call sock_send => guest|trap "returned|trapped"
;; @call sock_shutdown => guest|trap "returned|trapped"
;; @call exit_0 => trap "ended the program with code 0"
;; @call exit_3 => trap "ended the program with code 3"
;; @call exit_minus => trap "ended the program with code 4294967295"
;; @call raise => guest|trap "returned|trapped"
;; @call random_beyond => guest|trap "returned|trapped"
;; @call random_across => guest|trap "returned|trapped"
;; @call random_overflowing => guest|trap "returned|trapped"
;; @call clock_beyond => guest|trap "returned|trapped"
;; @call clock_unknown => guest|trap "returned|trapped"
;; @call clock_res_beyond => guest|trap "returned|trapped"
;; @call write_iovs_beyond => guest|trap "returned|trapped"
;; @call write_buffer_beyond => guest|trap "returned|trapped"
;; @call write_count_beyond => guest|trap "returned|trapped"
;; @call write_unknown => guest|trap "returned|trapped"
;; @call write_stdin => guest|trap "returned|trapped"
;; @call read_iovs_itself => output ""
;; @call args => output ""
;; @call environ => output ""
;; @call args_beyond => guest|trap "returned|trapped"
;; @call poll_beyond => guest|trap "returned|trapped"
;; @call poll_nothing => guest|trap "returned|trapped"
;; @call poll_overflowing => guest|trap "returned|trapped"
;; @call write_flood => time "ran longer than 300ms"
;; @call write_no_newline => time "ran longer than 300ms"
;; @call random_flood => time "ran longer than 300ms"
;; @call yield_flood => time "ran longer than 300ms"
;; @call clock_flood => time "ran longer than 300ms"
;; @call write_iovs_overflowing => guest|trap "returned|trapped"
(module
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "input_length" (func $input_length (result i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (import "wasi_snapshot_preview1" "path_open" (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_unlink_file" (func $path_unlink_file (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_prestat_get" (func $fd_prestat_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_accept" (func $sock_accept (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_recv" (func $sock_recv (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_send" (func $sock_send (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_shutdown" (func $sock_shutdown (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (import "wasi_snapshot_preview1" "proc_raise" (func $proc_raise (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_res_get" (func $clock_res_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $environ_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sched_yield" (func $sched_yield (result i32)))
  (memory 2 2)
  (data (i32.const 0) "etc/passwd")
  (data (i32.const 16) "/etc/passwd")
  (data (i32.const 32) "../../../etc/passwd")
  ;; an iovec at 64: 64 KiB of 'A' … at 65536
  (data (i32.const 64) "\00\00\01\00\00\00\01\00")
  ;; an iovec at 80 whose buffer begins at the last byte and has 64 KiB
  (data (i32.const 80) "\ff\ff\01\00\00\00\01\00")
  ;; an iovec at 96 whose buffer is the iovec
  (data (i32.const 96) "\60\00\00\00\08\00\00\00")

  (func $open (param i32 i32 i32) (result i32)
    (call $path_open (local.get 0) (i32.const 0) (local.get 1) (local.get 2) (i32.const 0) (i64.const -1) (i64.const -1) (i32.const 0) (i32.const 1000)))
  (func (export "path_open") (result i32) (i32.and (call $open (i32.const 3) (i32.const 0) (i32.const 10)) (call $open (i32.const 4) (i32.const 32) (i32.const 19))))
  (func (export "path_open_absolute") (result i32) (call $open (i32.const 3) (i32.const 16) (i32.const 11)))
  (func (export "path_unlink") (result i32) (call $path_unlink_file (i32.const 3) (i32.const 0) (i32.const 10)))
  (func (export "fd_read_file") (result i32) (call $fd_read (i32.const 3) (i32.const 64) (i32.const 1) (i32.const 1000)))
  (func (export "prestat") (result i32) (call $fd_prestat_get (i32.const 3) (i32.const 1000)))
  (func (export "sock_accept") (result i32) (call $sock_accept (i32.const 3) (i32.const 0) (i32.const 1000)))
  (func (export "sock_recv") (result i32) (call $sock_recv (i32.const 3) (i32.const 64) (i32.const 1) (i32.const 0) (i32.const 1000) (i32.const 1004)))
  (func (export "sock_send") (result i32) (call $sock_send (i32.const 3) (i32.const 64) (i32.const 1) (i32.const 0) (i32.const 1000)))
  (func (export "sock_shutdown") (result i32) (call $sock_shutdown (i32.const 3) (i32.const 1)))
  (func (export "exit_0") (call $proc_exit (i32.const 0)))
  (func (export "exit_3") (call $proc_exit (i32.const 3)))
  (func (export "exit_minus") (call $proc_exit (i32.const -1)))
  (func (export "raise") (result i32) (call $proc_raise (i32.const 9)))
  (func (export "random_beyond") (result i32) (call $random_get (i32.const 131072) (i32.const 1)))
  (func (export "random_across") (result i32) (call $random_get (i32.const 131064) (i32.const 9)))
  (func (export "random_overflowing") (result i32) (call $random_get (i32.const 16) (i32.const -8)))
  (func (export "clock_beyond") (result i32) (call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 131065)))
  (func (export "clock_unknown") (result i32) (call $clock_time_get (i32.const 99) (i64.const 0) (i32.const 1000)))
  (func (export "clock_res_beyond") (result i32) (call $clock_res_get (i32.const 0) (i32.const -4)))
  (func (export "write_iovs_beyond") (result i32) (call $fd_write (i32.const 1) (i32.const 131070) (i32.const 1) (i32.const 1000)))
  (func (export "write_iovs_overflowing") (result i32) (call $fd_write (i32.const 1) (i32.const 64) (i32.const 0x20000001) (i32.const 1000)))
  (func (export "write_buffer_beyond") (result i32) (call $fd_write (i32.const 1) (i32.const 80) (i32.const 1) (i32.const 1000)))
  (func (export "write_count_beyond") (result i32) (call $fd_write (i32.const 1) (i32.const 64) (i32.const 1) (i32.const 131070)))
  (func (export "write_unknown") (result i32) (call $fd_write (i32.const 77) (i32.const 64) (i32.const 1) (i32.const 1000)))
  (func (export "write_stdin") (result i32) (call $fd_write (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 1000)))
  (func (export "read_iovs_itself") (result i32) (call $fd_read (i32.const 0) (i32.const 96) (i32.const 1) (i32.const 100)))
  (func $none (param i32) (result i32) ;; 0 if both sizes at the address are 0
    (i32.or (i32.load (local.get 0)) (i32.load offset=4 (local.get 0))))
  (func (export "args") (result i32)
    (i64.store (i32.const 1000) (i64.const -1))
    (i32.or (i32.or (call $args_sizes_get (i32.const 1000) (i32.const 1004)) (call $none (i32.const 1000))) (call $args_get (i32.const 2000) (i32.const 3000))))
  (func (export "environ") (result i32)
    (i64.store (i32.const 1000) (i64.const -1))
    (i32.or (i32.or (call $environ_sizes_get (i32.const 1000) (i32.const 1004)) (call $none (i32.const 1000))) (call $environ_get (i32.const 2000) (i32.const 3000))))
  (func (export "args_beyond") (result i32) (call $args_sizes_get (i32.const 131070) (i32.const -1)))
  (func $subscribe (param $seconds i64) ;; to the monotonic clock, at 200
    (i64.store (i32.const 200) (i64.const 7)) (i32.store8 (i32.const 208) (i32.const 0))
    (i32.store (i32.const 216) (i32.const 1)) (i64.store (i32.const 224) (i64.mul (local.get $seconds) (i64.const 1000000000))) (i64.store (i32.const 232) (i64.const 0)) (i32.store16 (i32.const 240) (i32.const 0)))
  (func (export "poll_beyond") (result i32) (call $subscribe (i64.const 0)) (call $poll_oneoff (i32.const 131060) (i32.const 400) (i32.const 1) (i32.const 1000)))
  (func (export "poll_nothing") (result i32) (call $poll_oneoff (i32.const 200) (i32.const 400) (i32.const 0) (i32.const 1000)))
  (func (export "poll_overflowing") (result i32) (call $poll_oneoff (i32.const 200) (i32.const 400) (i32.const 0x10000001) (i32.const 1000)))
  ;; sleep may take the call's time or no time, but no longer
  (func (export "sleep") (result i32) (call $subscribe (i64.const 3600)) (call $poll_oneoff (i32.const 200) (i32.const 400) (i32.const 1) (i32.const 1000)))
  (func (export "sleep_flood") (loop (call $subscribe (i64.const 3600)) (drop (call $poll_oneoff (i32.const 200) (i32.const 400) (i32.const 1) (i32.const 1000))) (br 0)))
  (func (export "write_flood")
    (memory.fill (i32.const 65536) (i32.const 10) (i32.const 65536))
    (loop (drop (call $fd_write (i32.const 1) (i32.const 64) (i32.const 1) (i32.const 1000))) (br 0)))
  (func (export "write_no_newline")
    (memory.fill (i32.const 65536) (i32.const 65) (i32.const 65536))
    (loop (drop (call $fd_write (i32.const 2) (i32.const 64) (i32.const 1) (i32.const 1000))) (br 0)))
  (func (export "random_flood") (loop (drop (call $random_get (i32.const 65536) (i32.const 65536))) (br 0)))
  (func (export "yield_flood") (loop (drop (call $sched_yield)) (br 0)))
  (func (export "clock_flood") (loop (drop (call $clock_time_get (i32.const 1) (i64.const 0) (i32.const 1000))) (br 0)))
  (func (export "good") (call $output_set (call $input_offset) (call $input_length)))
)
