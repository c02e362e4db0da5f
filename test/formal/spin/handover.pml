/*
 * The hand-over of one VM under faults: source agent, target agent, libvirt on both hosts with its five phases, both journals,
 * recovery. test/formal/README.md says what is abstracted. Run by suite.ts; by hand:
 *   spin -a -DFAULTS=2 handover.pml && gcc -DSAFETY -DNOREDUCE -o pan pan.c && ./pan -m1000000
 *
 * Rows S(...) and T(...) are SPEC 6.8: state, input, next state, effects. table.ts reads them and compares them with what
 * lib/protocol does; rows that change nothing and do nothing are left out (they would be the message that never came).
 *
 * Switches: FAULTS (how many), SESSIONS (how many one after another), ROLLBACK (which store is put back), and one MUTANT_... for each
 * rule of the design that can be taken away.
 */
#ifndef FAULTS
#define FAULTS 2
#endif
#ifndef SESSIONS
#define SESSIONS 1
#endif
#define ROLLBACK_JOURNAL 1
#define ROLLBACK_VTPM 2
#define ROLLBACK_BOTH 3
#ifndef ROLLBACK
#define ROLLBACK 0
#endif

/* States of the source's machine (SPEC 6.8, left table); `down` is an agent that does not run. */
#define s_down 0
#define s_idle 1
#define s_hello_sent 2
#define s_greeted 3
#define s_appraising 4
#define s_signing 5
#define s_offered 6
#define s_staged 7
#define s_declined 8
#define s_aborting 9
#define s_destroying 10
#define s_departed 11
#define s_aborted 12
#define s_refused 13
#define s_resolved 14
#define s_giving_up 15
#define s_given_up 16

/* States of the target's machine (SPEC 6.8, right table). */
#define t_down 0
#define t_idle 1
#define t_hello_sent 2
#define t_greeted 3
#define t_attested 4
#define t_appraising 5
#define t_staging 6
#define t_staged 7
#define t_arriving 8
#define t_arrived 9
#define t_done 10
#define t_aborted 11
#define t_refused 12
#define t_resolved 13
#define t_giving_up 14
#define t_given_up 15

/* Inputs. Those that begin with m_ are messages of the peer. */
#define i_none 0
#define i_open 1
#define i_answer 2
#define i_m_hello 3
#define i_m_evidence 4
#define i_m_offer 5
#define i_m_staged 6
#define i_m_arrived 7
#define i_m_departed 8
#define i_m_abort 9
#define i_m_aborted 10
#define i_m_query 11
#define i_m_refused 12
#define i_accepted 13
#define i_refuse 14
#define i_signed 15
#define i_stayed 16
#define i_left 17
#define i_arrival_verified 18
#define i_destroyed 19
#define i_failed 20
#define i_stored 21
#define i_moved 22
#define i_arrival_signed 23
#define i_departure_verified 24
#define i_lost 25
#define i_not_incoming 26
#define i_disclaimer_verified 27
/* What an administrator states (SPEC 6.9). */
#define i_keep 28
#define i_give_up 29

/* Effects, to be done by the driver before it takes the next input. */
#define e_none 0
#define e_send_hello 1
#define e_send_hello_then_attest 2
#define e_attest 3
#define e_send_evidence 4
#define e_appraise 5
#define e_commit 6
#define e_send_offer 7
#define e_release 8
#define e_send_abort 9
#define e_send_query 10
#define e_verify_arrival 11
#define e_destroy_copy 12
#define e_check_outcome 13
#define e_sign_aborted 14
#define e_sign_departed 15
#define e_send_refused 16
#define e_stage 17
#define e_send_staged_then_admit 18
#define e_discard 19
#define e_discard_then_send_refused 20
#define e_discard_then_disclaim 21
#define e_sign_arrived 22
#define e_check_incoming 23
#define e_send_arrived 24
#define e_verify_departure 25
/* Second halves, where a crash can come in between. */
#define e_admit 26
#define e_tell_refused 27
#define e_tell_aborted 28
#define e_destroy_rest 30
#define e_say_departed 31
#define e_stage_rest 32
#define e_write_rest 33
#define e_check_arrival 34
#define e_verify_disclaimer 35
#define e_sign_resolved 36
#define e_give_up 37
#define e_note_conflict 38

/* Messages in flight, a bit each: once sent, a message can be delivered again and again, late, in any order, until it is lost. */
#define M_HELLO_S 1
#define M_HELLO_T 2
#define M_EVIDENCE 4
#define M_OFFER 8
#define M_STAGED 16
#define M_REFUSED_S 32
#define M_REFUSED_T 64
#define M_ARRIVED 128
#define M_DEPARTED 256
#define M_ABORT 512
#define M_ABORTED 1024
#define M_QUERY 2048
#define TO_S (M_HELLO_T | M_EVIDENCE | M_STAGED | M_REFUSED_T | M_ARRIVED | M_ABORTED)
#define TO_T (M_HELLO_S | M_OFFER | M_REFUSED_S | M_DEPARTED | M_ABORT | M_QUERY)

/* Journals: session and VM record (lib/ledger/records.ts). */
#define j_open 0
#define j_refused 1
#define j_offered 2
#define j_staged 3
#define j_declined 4
#define j_aborting 5
#define j_destroying 6
#define j_departed 7
#define j_aborted 8
#define j_arriving 9
#define j_arrived 10
#define j_done 11
#define j_resolved 12
#define j_giving_up 13
#define j_given_up 14
#define r_none 0      /* no key here */
#define r_holder 1    /* holder, with the sealed key */
#define r_departing 2 /* holder, committed to hand over */
#define r_staged 3    /* target: sealed key and proof of a VM that comes */
#define r_keyed 4     /* given away, sealed key still here */
#define p_none 0
#define p_fresh 1
#define p_expired 2
#define p_consumed 3

/* libvirt: its phases as both hosts see them. */
#define lv_none 0     /* no migration */
#define lv_begin 1    /* Begin: the destination's `migrate begin` hook waits */
#define lv_admitted 2 /* Prepare: the hook let it in */
#define lv_stream 3   /* Perform: memory travels, QEMU waits at the destination */
#define lv_streamed 4 /* Perform is over: the source's CPUs stand still, the vTPM's state is at the destination */
#define lv_finished 5 /* Finish: the CPUs run at the destination; Confirm is still to come */
#define q_off 0
#define q_run 1
#define q_wait 2      /* a QEMU process whose CPUs stand still for a migration */

byte s = s_idle, s_eff, sj;
byte s_rec = r_holder;
byte t = t_idle, t_eff, tj, t_rec, permit;
bit s_cli;            /* opened by `tvmmp migrate` */
bit s_released;       /* our own call of libvirt's migration may begin */
bit s_vtpm = 1, t_vtpm;
bit s_migrated;       /* libvirt's own word at the source: shut off because it migrated */
bit t_secret;         /* the key in libvirt at the target */
bit t_admitted;       /* `prepare begin` lets it pass once */
bit t_def;            /* a definition that libvirt's last phase left at the target (SPEC 6.8) */
bit t_unsynced;       /* what was staged is not on disk yet (mutant) */
byte lv, sq = q_run, tq;
bit jobs = 1;         /* libvirt migrations that can still begin in this session */
short net;            /* this session's messages in flight */
short old;            /* earlier sessions' */
byte session = 1;
byte faults = FAULTS;
/* For the properties alone. */
bit split;            /* libvirt itself let both run: Finish's answer was lost */
byte current = 1;     /* where the CPUs ran last: 1 source, 2 target, 3 both (split) */
bit signed_aborted;
byte signed_arrived;  /* how many *arrived* entries: two of them would be a fork */
bit rolled_back;
hidden byte in, to;
/* hand-over-conflict noted (SPEC 6.9): the host does not start the VM. */
bit s_conflict, t_conflict;

#define S(from, input, to, effect) s == s_##from && in == i_##input -> s = s_##to; s_eff = e_##effect
#define T(from, input, to, effect) t == t_##from && in == i_##input -> t = t_##to; t_eff = e_##effect

/* An input for one of the two machines; it takes it in the same atomic step, below. */
#define source(i) in = i; to = 1
#define target(i) in = i; to = 2

inline source_step() {
  if
  :: S(idle, open, hello_sent, send_hello)                    /* SPEC 6.1 */
  :: S(idle, answer, greeted, send_hello)                     /* SPEC 6.1 */
  :: S(idle, refuse, refused, none)                           /* SPEC 6.8 */
  :: S(idle, failed, refused, none)                           /* SPEC 6.8 */
  :: S(hello_sent, m_hello, greeted, none)                    /* SPEC 6.1 */
  :: S(hello_sent, m_refused, refused, none)                  /* SPEC 6.8 */
  :: S(hello_sent, refuse, refused, send_refused)             /* SPEC 6.8 */
  :: S(hello_sent, failed, refused, none)                     /* SPEC 6.8 */
  :: S(greeted, m_evidence, appraising, appraise)             /* SPEC 6.3 */
  :: S(greeted, m_refused, refused, none)                     /* SPEC 6.8 */
  :: S(greeted, refuse, refused, send_refused)                /* SPEC 6.8 */
  :: S(greeted, failed, refused, none)                        /* SPEC 6.8 */
  :: S(appraising, accepted, signing, commit)                 /* SPEC 6.5 */
  :: S(appraising, m_refused, refused, none)                  /* SPEC 6.8 */
  :: S(appraising, refuse, refused, send_refused)             /* SPEC 6.5 */
  :: S(appraising, failed, refused, none)                     /* SPEC 6.8 */
  :: S(signing, signed, offered, send_offer)                  /* SPEC 6.4 */
  :: S(signing, m_refused, refused, none)                     /* SPEC 6.8 */
  :: S(signing, refuse, refused, send_refused)                /* SPEC 6.6 */
  :: S(signing, failed, refused, none)                        /* SPEC 6.8 */
  :: S(offered, m_staged, staged, release)                    /* SPEC 6.7 */
  :: S(offered, m_aborted, offered, verify_disclaimer)        /* SPEC 6.10 */
  :: S(offered, disclaimer_verified, declined, check_outcome) /* SPEC 6.8 */
  :: S(offered, m_arrived, offered, verify_arrival)           /* SPEC 6.8 */
  :: S(offered, arrival_verified, destroying, destroy_copy)   /* SPEC 8.3 */
#ifndef MUTANT_LONE_SOURCE
  :: S(offered, stayed, aborting, send_abort)                 /* SPEC 6.8 */
  :: S(staged, stayed, aborting, send_abort)                  /* SPEC 6.8 */
#else
  :: S(offered, stayed, aborted, sign_aborted)
  :: S(staged, stayed, aborted, sign_aborted)
#endif
  :: S(offered, left, offered, send_query)                    /* SPEC 6.8 */
  :: S(staged, left, staged, send_query)                      /* SPEC 6.8 */
  :: S(staged, m_aborted, staged, verify_disclaimer)          /* SPEC 6.10 */
  :: S(staged, disclaimer_verified, declined, check_outcome)  /* SPEC 6.8 */
  :: S(staged, m_arrived, staged, verify_arrival)             /* SPEC 6.8 */
  :: S(staged, arrival_verified, destroying, destroy_copy)    /* SPEC 8.3 */
  :: S(declined, stayed, aborted, sign_aborted)               /* SPEC 6.8 */
  :: S(aborting, stayed, aborting, send_abort)                /* SPEC 6.8 */
  :: S(aborting, m_aborted, aborting, verify_disclaimer)      /* SPEC 6.10 */
  :: S(aborting, disclaimer_verified, aborted, sign_aborted)  /* SPEC 6.8 */
  :: S(aborting, m_arrived, aborting, verify_arrival)         /* SPEC 6.8 */
  :: S(aborting, arrival_verified, destroying, destroy_copy)  /* SPEC 8.3 */
  :: S(destroying, destroyed, departed, sign_departed)        /* SPEC 2, 8.3 */
  :: S(offered, keep, resolved, sign_resolved)                /* SPEC 6.9 */
  :: S(staged, keep, resolved, sign_resolved)                 /* SPEC 6.9 */
  :: S(aborting, keep, resolved, sign_resolved)               /* SPEC 6.9 */
  :: S(offered, give_up, giving_up, give_up)                  /* SPEC 6.9 */
  :: S(staged, give_up, giving_up, give_up)                   /* SPEC 6.9 */
  :: S(aborting, give_up, giving_up, give_up)                 /* SPEC 6.9 */
  :: S(resolved, give_up, giving_up, give_up)                 /* SPEC 6.9 */
  :: S(giving_up, destroyed, given_up, none)                  /* SPEC 6.9 */
  fi;
  in = i_none;
  /* What the driver journals on entering a state, before any effect. */
  if
  :: s == s_refused -> sj = j_refused
  :: s == s_staged -> sj = j_staged
  :: s == s_declined -> sj = j_declined
  :: s == s_aborting -> sj = j_aborting
  :: s == s_given_up -> sj = j_given_up
  :: else
  fi
}

inline target_step() {
  if
  :: T(idle, open, hello_sent, send_hello)                    /* SPEC 6.1 */
  :: T(idle, answer, greeted, send_hello_then_attest)         /* SPEC 6.1 */
  :: T(idle, refuse, refused, none)                           /* SPEC 6.8 */
  :: T(idle, failed, refused, none)                           /* SPEC 6.8 */
  :: T(hello_sent, m_hello, greeted, attest)                  /* SPEC 6.3 */
  :: T(hello_sent, m_refused, refused, discard)               /* SPEC 6.8 */
  :: T(hello_sent, refuse, refused, discard_then_send_refused) /* SPEC 6.8 */
  :: T(hello_sent, failed, refused, discard)                  /* SPEC 6.8 */
  :: T(greeted, signed, attested, send_evidence)              /* SPEC 6.3 */
  :: T(greeted, m_refused, refused, discard)                  /* SPEC 6.8 */
  :: T(greeted, refuse, refused, discard_then_send_refused)   /* SPEC 6.8 */
  :: T(greeted, failed, refused, discard)                     /* SPEC 6.8 */
  :: T(attested, m_offer, appraising, appraise)               /* SPEC 6.4 */
  :: T(attested, m_refused, refused, discard)                 /* SPEC 6.8 */
  :: T(attested, refuse, refused, discard_then_send_refused)  /* SPEC 6.8 */
  :: T(attested, failed, refused, discard)                    /* SPEC 6.8 */
  :: T(appraising, accepted, staging, stage)                  /* SPEC 6.7 */
  :: T(appraising, m_refused, refused, discard)               /* SPEC 6.8 */
  :: T(appraising, refuse, refused, discard_then_disclaim)    /* SPEC 6.5, 6.10 */
  :: T(appraising, failed, refused, discard)                  /* SPEC 6.8 */
  :: T(staging, stored, staged, send_staged_then_admit)       /* SPEC 6.7, 8.1 */
  :: T(staging, refuse, refused, discard_then_disclaim)       /* SPEC 6.7, 6.10 */
  :: T(staging, failed, refused, discard)                     /* SPEC 6.8 */
  :: T(staged, moved, arriving, sign_arrived)                 /* SPEC 6.8 */
  :: T(staged, m_abort, staged, check_incoming)               /* SPEC 6.8 */
  :: T(staged, m_query, staged, check_arrival)                /* SPEC 6.8 */
  :: T(staged, lost, staged, check_incoming)                  /* SPEC 6.8 */
  :: T(staged, not_incoming, aborted, discard_then_disclaim)  /* SPEC 6.8, 6.10 */
  :: T(arriving, arrival_signed, arrived, send_arrived)       /* SPEC 6.8 */
  :: T(arrived, m_departed, arrived, verify_departure)        /* SPEC 2 */
  :: T(arrived, departure_verified, done, none)               /* SPEC 2 */
  :: T(arrived, m_abort, arrived, send_arrived)               /* SPEC 6.8 */
  :: T(arrived, m_query, arrived, send_arrived)               /* SPEC 6.8 */
  :: T(arrived, m_refused, arrived, note_conflict)            /* SPEC 6.9 */
  :: T(arrived, keep, resolved, none)                         /* SPEC 6.9 */
  :: T(arrived, give_up, giving_up, give_up)                  /* SPEC 6.9 */
  :: T(giving_up, destroyed, given_up, none)                  /* SPEC 6.9 */
  fi;
  in = i_none;
  if
  :: t == t_refused -> tj = j_refused
  :: t == t_arriving -> tj = j_arriving
  :: t == t_resolved -> tj = j_resolved; t_conflict = 0
  :: t == t_given_up -> tj = j_given_up; t_conflict = 0
  :: else
  fi
}

/* The properties; each can be looked for alone (-DONLY=...), and pan names the one that does not hold. */
#define p_two_runnable 1
#define p_forked 2
#define p_current_lost 4
#define p_copy_destroyed_while_it_runs 8
#define p_stuck 16
#define p_key_left 32
#ifndef ONLY
#define ONLY 63
#endif
bool two_runnable, forked, current_lost, copy_destroyed_while_it_runs, stuck, key_left;
/* What the start gate asks for (SPEC 8.2): the journal's word, and the vTPM's state. */
#if defined(MUTANT_GATE_LETS_DEPARTING)
#define STARTABLE_S ((s_rec == r_holder || s_rec == r_departing) && s_vtpm && sq == q_off)
#elif defined(MUTANT_GATE_IGNORES_VTPM)
#define STARTABLE_S (s_rec == r_holder && sq == q_off)
#elif defined(MUTANT_GATE_IGNORES_JOURNAL)
#define STARTABLE_S (s_vtpm && sq == q_off)
#else
#define STARTABLE_S (s_rec == r_holder && s_vtpm && sq == q_off && !s_conflict)
#endif
#define STARTABLE_T (t_rec == r_holder && t_vtpm && tq == q_off && !t_conflict)
#define SAFE_S (s_vtpm && (s_rec == r_holder || s_rec == r_departing))
#define SAFE_T (t_vtpm && (t_rec == r_holder || t_rec == r_staged))

inline check() {
  d_step {
    two_runnable = (ONLY & p_two_runnable) && ((sq == q_run && tq == q_run && !split) || (STARTABLE_S && (STARTABLE_T || tq == q_run)) || (STARTABLE_T && sq == q_run && !split));
    assert(!two_runnable);
    forked = (ONLY & p_forked) && ((signed_aborted && signed_arrived) || signed_arrived > 1);
    assert(!forked);
    current_lost = (ONLY & p_current_lost) && ((current == 1 && !SAFE_S) || (current == 2 && !SAFE_T) || (current == 3 && !SAFE_S && !SAFE_T));
    assert(!current_lost);
    copy_destroyed_while_it_runs = (ONLY & p_copy_destroyed_while_it_runs) && ((sq == q_run && !s_vtpm) || (tq == q_run && !t_vtpm));
    assert(!copy_destroyed_while_it_runs)
  }
}

/* How a run may end, once nothing more can happen: both agents are up and libvirt is quiet. */
#define TARGET_EMPTY (t_rec == r_none && !t_secret && permit == p_none && !t_vtpm)
#define END_STAYED (s_rec == r_holder && s_vtpm && (sj == j_refused || sj == j_aborted || sj == j_open || sj == j_resolved))
#define END_MOVED (s_rec == r_none && (sj == j_departed || sj == j_given_up) && t_rec == r_holder && t_vtpm && (tj == j_done || tj == j_resolved))
/*
 * The VM came and ended unseen, and the source, after a crash in libvirt's last phase or where libvirt let both run, cannot say that it
 * left: nothing is destroyed, an administrator decides (SPEC 6.9).
 */
#ifdef OPERATOR
#define END_UNDECIDED 0
#else
#define END_UNDECIDED (FAULTS > faults && s_rec == r_departing && s_vtpm && sj == j_aborting && t_rec == r_staged && t_vtpm && t_def && tj == j_staged)
#endif

inline finale() {
  d_step {
    stuck = (ONLY & p_stuck) && !(END_STAYED || END_MOVED || END_UNDECIDED);
    assert(!stuck);
    key_left = (ONLY & p_key_left) && ((END_STAYED && !TARGET_EMPTY) || (END_MOVED && (s_vtpm || t_secret || permit != p_none)));
    assert(!key_left)
  }
}

#define SEND(m) net = net | m
/* A message for this session. Without the check of the session number one of an earlier session serves as well. */
#ifndef MUTANT_SESSION_UNCHECKED
#define GOT(m) (net & (m))
#else
#define GOT(m) ((net | old) & (m))
#endif
#define S_UP (s != s_down && s_eff == e_none)
#define T_UP (t != t_down && t_eff == e_none)
#define S_COMMITTED (s == s_offered || s == s_staged || s == s_aborting)
#define S_MAKING (s >= s_hello_sent && s <= s_signing)
#define T_MAKING (t >= t_hello_sent && t <= t_staging)
#define T_OVER (t == t_done || t == t_aborted || t == t_refused)
/* SPEC 6.8: the VM has left the source: libvirt undefined it (with its vTPM's state), or says that it migrated. */
#define S_LEFT (sq == q_off && (s_migrated || !s_vtpm))
#define FAULT faults > 0

/* OPERATOR: 1, one who knows where the VM is; 2, one who may be mistaken. */
#if OPERATOR == 1
#define RIGHT(what) (what)
#else
#define RIGHT(what) 1
#endif

/* What the target may conclude where libvirt has no running VM (SPEC 6.8): nothing came, not even a definition. */
#ifndef MUTANT_TARGET_GUESSES
#define T_NOTHING_CAME (!t_def)
#else
#define T_NOTHING_CAME 1
#endif

inline crash_source() {
  s = s_down; s_eff = e_none; s_released = 0; s_cli = 0;
  net = net & ~TO_S
}

inline crash_target() {
  t = t_down; t_eff = e_none; t_admitted = 0;
  net = net & ~TO_T;
  if
  :: t_unsynced -> t_unsynced = 0; t_rec = r_none; permit = p_none; tj = j_open
  :: else
  fi
}

/* SPEC 6.8: after a restart the journal says where to go on; what was not committed is refused. */
inline restart_source() {
  if
  :: sj == j_open || sj == j_refused -> s = s_refused; sj = j_refused
  :: sj == j_offered -> s = s_offered
  :: sj == j_staged -> s = s_staged
  :: sj == j_declined -> s = s_declined
  :: sj == j_aborting -> s = s_aborting
  :: sj == j_destroying -> s = s_destroying; s_eff = e_destroy_copy
  :: sj == j_departed -> s = s_departed
  :: sj == j_aborted -> s = s_aborted
  :: sj == j_resolved -> s = s_resolved
  :: sj == j_giving_up -> s = s_giving_up; s_eff = e_give_up
  :: sj == j_given_up -> s = s_given_up
  fi
}

inline restart_target() {
  if
  :: tj == j_open || tj == j_refused -> t = t_refused; tj = j_refused
  :: tj == j_staged -> t = t_staged
  :: tj == j_arriving -> t = t_arriving; t_eff = e_sign_arrived
  :: tj == j_arrived -> t = t_arrived
  :: tj == j_done -> t = t_done
  :: tj == j_aborted -> t = t_aborted
  :: tj == j_resolved -> t = t_resolved
  :: tj == j_giving_up -> t = t_giving_up; t_eff = e_give_up
  :: tj == j_given_up -> t = t_given_up
  fi;
#ifndef MUTANT_KEY_STAYS
  /* A key that is in libvirt for no start (SPEC 8.3). */
  t_secret = 0;
#endif
#ifndef MUTANT_NO_SWEEP
  /* What no session waits for is thrown away. */
  if
  :: t_rec == r_staged && T_OVER -> t_eff = e_discard
  :: else
  fi
#endif
}

/* The incoming QEMU ends; libvirt takes its vTPM state away, or leaves it (a definition was there before). */
inline end_incoming() {
  tq = q_off;
  if
  :: t_vtpm = 0
  :: skip
  fi
}

inline hook_after_end() {
  if
  :: t != t_down -> t_secret = 0
  :: else
  fi
}

/* The target's libvirt or host fails while libvirt migrates. */
inline migration_breaks() {
  if
  :: lv >= lv_begin && lv <= lv_streamed ->
    lv = lv_none;
    if
    :: sq == q_wait -> sq = q_run
    :: else
    fi
  :: lv == lv_finished -> skip
  :: lv == lv_finished -> lv = lv_none; sq = q_run; split = 1; current = 3
  :: lv == lv_none
  fi
}

#define LOSE(m) :: FAULT && (net & m) -> faults--; net = net & ~m

active proctype world() {
  if
  :: s_cli = 0
  :: s_cli = 1
  fi;
  do
  :: atomic {
    if
    /* ---- the session is opened (SPEC 6.1) ---- */
    :: S_UP && s_cli && s == s_idle && sq == q_run -> source(i_open)
    :: T_UP && !s_cli && t == t_idle && s == s_idle && lv == lv_none && jobs && sq == q_run -> lv = lv_begin; jobs = 0; target(i_open)
    :: S_UP && !s_cli && s == s_idle && GOT(M_HELLO_T) && lv != lv_none -> source(i_answer)
    :: S_UP && !s_cli && s == s_idle && GOT(M_HELLO_T) -> SEND(M_REFUSED_S); source(i_failed)
    :: T_UP && s_cli && t == t_idle && GOT(M_HELLO_S) -> target(i_answer)

    /* ---- messages ---- */
    :: S_UP && s == s_hello_sent && GOT(M_HELLO_T) -> source(i_m_hello)
    :: S_UP && s == s_greeted && GOT(M_EVIDENCE) -> source(i_m_evidence)
    :: S_UP && s == s_offered && GOT(M_STAGED) -> source(i_m_staged)
    :: S_UP && (S_MAKING || S_COMMITTED) && GOT(M_REFUSED_T) -> source(i_m_refused)
    :: S_UP && S_COMMITTED && GOT(M_ABORTED) -> source(i_m_aborted)
#ifndef MUTANT_SOURCE_BELIEVES
    :: S_UP && S_COMMITTED && GOT(M_ARRIVED) && signed_arrived && sq != q_run -> source(i_m_arrived)
#else
    :: S_UP && S_COMMITTED && GOT(M_ARRIVED) && signed_arrived -> source(i_m_arrived)
#endif
    :: T_UP && t == t_hello_sent && GOT(M_HELLO_S) -> target(i_m_hello)
    :: T_UP && t == t_attested && GOT(M_OFFER) -> target(i_m_offer)
    :: T_UP && t >= t_hello_sent && t <= t_appraising && GOT(M_REFUSED_S) -> target(i_m_refused)
    :: T_UP && T_MAKING && GOT(M_ABORT | M_QUERY) -> target(i_failed)
    :: T_UP && t == t_staged && GOT(M_ABORT) && tq == q_off && T_NOTHING_CAME -> target(i_m_abort)
    :: T_UP && t == t_staged && GOT(M_QUERY) && tq == q_off && t_def -> target(i_m_query)
    :: T_UP && t == t_arrived && GOT(M_ABORT) && !(net & M_ARRIVED) -> target(i_m_abort)
    :: T_UP && t == t_arrived && GOT(M_QUERY) && !(net & M_ARRIVED) -> target(i_m_query)
    :: T_UP && t == t_arrived && GOT(M_DEPARTED) && sj == j_departed -> target(i_m_departed)
    /* A session that is over answers from the journal. */
    :: T_UP && (t == t_aborted || t == t_refused) && GOT(M_ABORT | M_QUERY) && !(net & M_ABORTED) -> SEND(M_ABORTED)
    :: S_UP && s == s_departed && GOT(M_ARRIVED) && !(net & M_DEPARTED) -> SEND(M_DEPARTED)
    /* SPEC 6.9: what was given up did arrive; what was kept did too. */
    :: S_UP && s == s_given_up && GOT(M_ARRIVED) && signed_arrived -> s = s_destroying; sj = j_destroying; s_eff = e_destroy_copy
    :: S_UP && s == s_resolved && GOT(M_ARRIVED) && signed_arrived && !(net & M_REFUSED_S) -> s_conflict = 1; SEND(M_REFUSED_S)
    :: T_UP && t == t_arrived && GOT(M_REFUSED_S) && !t_conflict -> target(i_m_refused)
    :: t_eff == e_note_conflict -> t_conflict = 1; t_eff = e_none

    /* ---- the source's driver: effects ---- */
    :: s_eff == e_send_hello -> SEND(M_HELLO_S); s_eff = e_none
    :: s_eff == e_send_refused -> SEND(M_REFUSED_S); s_eff = e_none
    :: s_eff == e_appraise -> s_eff = e_none; source(i_accepted)
    :: s_eff == e_appraise -> s_eff = e_none; source(i_refuse)
    :: s_eff == e_commit && s_rec == r_holder && sq == q_run ->
#ifndef MUTANT_COMMIT_IN_TWO
      s_rec = r_departing; sj = j_offered; s_eff = e_none; source(i_signed)
#else
      s_rec = r_departing; s_eff = e_write_rest
    :: s_eff == e_write_rest -> sj = j_offered; s_eff = e_none; source(i_signed)
#endif
    :: s_eff == e_commit -> s_eff = e_none; source(i_refuse)
    :: s_eff == e_commit -> s_eff = e_none; source(i_failed)
    :: s_eff == e_send_offer -> SEND(M_OFFER); s_eff = e_none
    :: s_eff == e_release -> s_released = s_cli; s_eff = e_none
    :: s_eff == e_send_abort -> SEND(M_ABORT); s_eff = e_none
    :: s_eff == e_send_query -> SEND(M_QUERY); s_eff = e_none
    :: s_eff == e_check_outcome -> s_eff = e_none
    :: s_eff == e_verify_disclaimer -> s_eff = e_none; source(i_disclaimer_verified)
    :: s_eff == e_verify_arrival -> s_rec = r_keyed; sj = j_destroying; s_eff = e_none; source(i_arrival_verified)
#ifndef MUTANT_SOURCE_BELIEVES
    :: s_eff == e_destroy_copy && sq == q_off -> s_vtpm = 0; s_eff = e_destroy_rest
    :: s_eff == e_destroy_copy && sq == q_wait && lv == lv_none -> sq = q_off
#else
    :: s_eff == e_destroy_copy -> s_vtpm = 0; s_eff = e_destroy_rest
#endif
    :: s_eff == e_destroy_rest -> s_rec = r_none; s_eff = e_none; source(i_destroyed)
    :: s_eff == e_sign_departed -> sj = j_departed; s_eff = e_say_departed
    :: s_eff == e_say_departed -> SEND(M_DEPARTED); s_eff = e_none
    :: s_eff == e_sign_aborted -> s_rec = r_holder; sj = j_aborted; signed_aborted = 1; s_eff = e_none

    :: s_eff == e_sign_resolved -> s_rec = r_holder; sj = j_resolved; signed_aborted = 1; s_eff = e_none
    /* The decision is durable first, then secret, sealed key and vTPM state go. */
    :: s_eff == e_give_up && s_rec != r_keyed && s_rec != r_none -> s_rec = r_keyed; sj = j_giving_up; s_conflict = 0
    :: s_eff == e_give_up && s_rec == r_keyed && s_vtpm -> s_vtpm = 0
    :: s_eff == e_give_up && (s_rec == r_none || (s_rec == r_keyed && !s_vtpm)) -> s_rec = r_none; s_eff = e_none; source(i_destroyed)

    /* ---- the source looks at libvirt (SPEC 6.8) ---- */
    :: S_UP && !s_released && (s == s_offered || s == s_staged) && lv == lv_none && !S_LEFT -> source(i_stayed)
    :: S_UP && !s_released && (s == s_offered || s == s_staged) && lv == lv_none && S_LEFT && !(net & M_QUERY) -> source(i_left)
    :: S_UP && !s_released && s == s_declined && lv == lv_none -> source(i_stayed)
#ifndef MUTANT_ABORT_SAID_ONCE
    :: S_UP && s == s_aborting && !(net & M_ABORT) -> source(i_stayed)
#endif

    /* ---- the target's driver: effects ---- */
    :: t_eff == e_send_hello -> SEND(M_HELLO_T); t_eff = e_none
    :: t_eff == e_send_hello_then_attest -> SEND(M_HELLO_T); t_eff = e_attest
    :: t_eff == e_attest -> t_eff = e_none; target(i_signed)
    :: t_eff == e_attest -> t_eff = e_none; target(i_failed)
    :: t_eff == e_send_evidence -> SEND(M_EVIDENCE); t_eff = e_none
    :: t_eff == e_appraise -> t_eff = e_none; target(i_accepted)
    :: t_eff == e_appraise -> t_eff = e_none; target(i_refuse)
    /* One durable write of proof, sealed key and permit; then the key into libvirt (target-opened; else when the hook asks). */
    :: t_eff == e_stage -> t_rec = r_staged; permit = p_fresh; tj = j_staged; t_eff = e_stage_rest;
#ifdef MUTANT_ACK_BEFORE_STAGE
      t_unsynced = 1
    :: t_unsynced -> t_unsynced = 0
#endif
    :: t_eff == e_stage_rest -> t_secret = !s_cli; t_eff = e_none; target(i_stored)
    :: t_eff == e_stage_rest -> t_eff = e_none; target(i_refuse)
    :: t_eff == e_send_staged_then_admit -> SEND(M_STAGED); t_eff = e_admit
    :: t_eff == e_admit -> t_eff = e_none
    :: (t_eff == e_discard || t_eff == e_discard_then_send_refused || t_eff == e_discard_then_disclaim) && t_rec == r_staged && tq == q_off && (t_secret || t_vtpm) ->
      t_secret = 0; t_vtpm = 0
    :: (t_eff == e_discard || t_eff == e_discard_then_send_refused || t_eff == e_discard_then_disclaim) && t_rec == r_staged && tq == q_off && !t_secret && !t_vtpm ->
      tj = j_aborted;
#ifndef MUTANT_DISCARD_IN_TWO
      t_rec = r_none; permit = p_none
    :: (t_eff == e_discard || t_eff == e_discard_then_send_refused || t_eff == e_discard_then_disclaim) && t_rec != r_staged ->
#endif
      if
      :: t_eff == e_discard -> t_eff = e_none
      :: t_eff == e_discard_then_send_refused -> t_eff = e_tell_refused
      :: t_eff == e_discard_then_disclaim -> t_eff = e_tell_aborted
      fi
#ifdef MUTANT_DISCARD_IN_TWO
    :: T_UP && tj == j_aborted && t_rec == r_staged -> t_rec = r_none; permit = p_none
    :: (t_eff == e_discard || t_eff == e_discard_then_send_refused) && t_rec == r_none -> t_eff = e_none
    :: t_eff == e_discard_then_disclaim && t_rec == r_none -> t_eff = e_tell_aborted
#endif
    :: t_eff == e_tell_refused -> SEND(M_REFUSED_T); t_eff = e_none
    :: t_eff == e_tell_aborted -> SEND(M_ABORTED); t_eff = e_none
    :: t_eff == e_sign_arrived && t_rec == r_staged ->
      t_rec = r_holder; signed_arrived++;
#ifndef MUTANT_ARRIVE_IN_TWO
      permit = p_none; tj = j_arrived; t_eff = e_none; target(i_arrival_signed)
#else
      t_eff = e_write_rest
    :: t_eff == e_write_rest -> permit = p_none; tj = j_arrived; t_eff = e_none; target(i_arrival_signed)
#endif
    :: t_eff == e_send_arrived -> SEND(M_ARRIVED); t_eff = e_none
    :: t_eff == e_verify_departure -> tj = j_done; t_eff = e_none; target(i_departure_verified)
    /* First the door is shut, then libvirt is asked. */
    :: t_eff == e_check_incoming ->
      t_admitted = 0; t_eff = e_none;
      if
      :: tq == q_off && T_NOTHING_CAME -> target(i_not_incoming)
      :: else
      fi
    :: t_eff == e_check_arrival ->
      t_eff = e_none;
      if
      :: tq == q_off && t_def -> target(i_moved)
      :: else
      fi

    :: t_eff == e_give_up && t_rec == r_holder -> t_rec = r_keyed; tj = j_giving_up
    :: t_eff == e_give_up && t_rec == r_keyed && (t_secret || t_vtpm) -> t_secret = 0; t_vtpm = 0
    :: t_eff == e_give_up && (t_rec == r_none || (t_rec == r_keyed && !t_secret && !t_vtpm)) -> t_rec = r_none; t_eff = e_none; target(i_destroyed)

#ifdef OPERATOR
    /* ---- what an administrator states (SPEC 6.9), where the agent takes it; RIGHT is what one knows who has looked at both hosts ---- */
    :: S_UP && S_COMMITTED && !s_released && lv == lv_none && (sq != q_off || s_vtpm) && RIGHT(current == 1 && !t_def && tq != q_run) -> source(i_keep)
    :: S_UP && (S_COMMITTED || (s == s_resolved && s_conflict)) && !s_released && sq == q_off && RIGHT(current != 1 && SAFE_T && t != t_aborted) -> source(i_give_up)
    /* `virsh destroy` of what stands still: nothing is given up while libvirt has the VM active. */
    :: S_COMMITTED && sq == q_wait && lv == lv_none && RIGHT(current != 1 && SAFE_T) -> sq = q_off
    :: T_UP && t == t_arrived -> target(i_keep)
    :: T_UP && t == t_arrived && tq == q_off && RIGHT(0) -> target(i_give_up)
#ifndef MUTANT_NOTHING_TO_STATE_OF_STAGED
    :: T_UP && t == t_staged && tq == q_off && t_def && RIGHT(current == 2 || (current == 3 && !SAFE_S)) -> target(i_moved)
    :: T_UP && t == t_staged && tq == q_off && t_def && RIGHT(current == 1 || (current == 3 && SAFE_S && s != s_giving_up)) -> target(i_not_incoming)
#endif
#endif

    /* ---- the target looks at libvirt (SPEC 6.8) ---- */
    :: T_UP && t == t_staged && tq == q_run -> target(i_moved)
    :: T_UP && t == t_staged && tq == q_off && T_NOTHING_CAME && (permit == p_expired || permit == p_consumed) -> target(i_lost)
#ifndef MUTANT_ARRIVED_SAID_ONCE
    :: T_UP && t == t_arrived && !(net & M_ARRIVED) -> SEND(M_ARRIVED)
#endif
    :: permit == p_fresh -> permit = p_expired

    /* ---- what was not committed fails: a deadline, a connection ---- */
    :: S_UP && S_MAKING -> source(i_failed)
    :: T_UP && T_MAKING -> target(i_failed)

    /* ---- libvirt's phases ---- */
    :: s != s_down && s_released && jobs && lv == lv_none && sq == q_run -> lv = lv_begin; jobs = 0; s_released = 0
    :: s_released && lv == lv_none -> s_released = 0 /* libvirt's call fails before it begins */
    :: lv == lv_begin && T_UP && t == t_staged && permit == p_fresh ->
      permit = p_consumed; t_admitted = 1; t_secret = 1; lv = lv_admitted
    :: lv == lv_admitted && t != t_down && t_admitted && t_rec == r_staged && t_secret && tq == q_off -> tq = q_wait; t_vtpm = 1; t_admitted = 0; lv = lv_stream
    :: t != t_down && tq != q_off && t_secret -> t_secret = 0
    :: lv == lv_stream && tq == q_wait && sq == q_run -> lv = lv_streamed; sq = q_wait
    :: lv == lv_streamed && tq == q_wait -> lv = lv_finished; tq = q_run; t_def = 1; current = 2
    :: lv == lv_finished -> lv = lv_none; sq = q_off; s_migrated = 1; s_vtpm = 0
    :: lv == lv_finished -> lv = lv_none; sq = q_off; s_migrated = 1
    /* It fails, or its user cancels: the source goes on, the destination lets go when it notices. */
    :: lv >= lv_begin && lv <= lv_streamed ->
      lv = lv_none;
      if
      :: sq == q_wait -> sq = q_run
      :: else
      fi
    :: lv == lv_none && tq == q_wait -> end_incoming(); hook_after_end()
    /* The guest ends, at any time. */
    :: sq == q_run && lv <= lv_stream -> sq = q_off; lv = lv_none
    :: tq == q_run -> tq = q_off; hook_after_end()
    :: sq == q_wait && lv == lv_none && s_rec == r_holder -> sq = q_run

    /* ---- restarts ---- */
    :: s == s_down -> restart_source()
    :: t == t_down -> restart_target()

    /* ---- faults ---- */
    LOSE(M_HELLO_S)
    LOSE(M_HELLO_T)
    LOSE(M_EVIDENCE)
    LOSE(M_OFFER)
    LOSE(M_STAGED)
    LOSE(M_REFUSED_S)
    LOSE(M_REFUSED_T)
    LOSE(M_ARRIVED)
    LOSE(M_DEPARTED)
    LOSE(M_ABORT)
    LOSE(M_ABORTED)
    LOSE(M_QUERY)
    :: FAULT && net != 0 -> faults--; net = 0
    :: FAULT && s != s_down -> faults--; crash_source()
    :: FAULT && t != t_down -> faults--; crash_target()
    :: FAULT -> /* the source's host loses its power */
      faults--; crash_source(); sq = q_off; lv = lv_none; s_migrated = 0
    :: FAULT -> /* the target's host loses its power */
      faults--; crash_target(); tq = q_off; t_secret = 0; migration_breaks()
    :: FAULT -> /* the source's libvirtd is killed and started again */
      faults--; s_migrated = 0; lv = lv_none
    :: FAULT && sq != q_off -> /* the source's QEMU dies */
      faults--; sq = q_off;
      if
      :: lv <= lv_streamed -> lv = lv_none
      :: else -> lv = lv_none; s_migrated = 1
      fi
    :: FAULT -> /* the target's libvirtd is killed and started again */
      faults--; t_secret = 0; migration_breaks();
      if
      :: tq == q_wait -> end_incoming()
      :: else
      fi
    :: FAULT && lv == lv_finished -> /* Finish's answer is lost: libvirt lets both run */
      faults--; lv = lv_none; sq = q_run; split = 1; current = 3

    /* ---- a store of the source is put back from a copy, after the hand-over (SPEC 13) ---- */
    :: ROLLBACK && !rolled_back && s == s_departed && sj == j_departed ->
      rolled_back = 1;
      if
      :: ROLLBACK & ROLLBACK_JOURNAL -> s_rec = r_holder
      :: else
      fi;
      if
      :: ROLLBACK & ROLLBACK_VTPM -> s_vtpm = 1
      :: else
      fi

    /* ---- the next session of a VM that stayed ---- */
    :: session < SESSIONS && S_UP && (s == s_refused || s == s_aborted) && s_rec == r_holder && lv == lv_none && sq == q_run &&
      T_UP && (T_OVER || t == t_idle) && tq == q_off && t_rec == r_none ->
      session++; old = old | net; net = 0;
      s = s_idle; sj = j_open; s_released = 0; t = t_idle; tj = j_open; jobs = 1; signed_aborted = 0; s_migrated = 0;
      t_admitted = 0;
      if
      :: s_cli = 0
      :: s_cli = 1
      fi
    :: else -> finale(); break
    fi;
    if
    :: in != i_none && to == 1 -> source_step()
    :: in != i_none && to == 2 -> target_step()
    :: else
    fi;
    check()
  }
  od
}
