/*
 * Revocation lists between three hosts (SPEC 1.3): issued by the authority, brought by operators and by peers, replayed and forged by whoever has the
 * network. List 1 names host 2; list 2 names nobody, since that was a mistake. Host 2 may be what the list says of it: it tells in its hello
 * what it likes, and brings no list. Run by revocation.ts.
 *
 * Switches: ONLY, a bit for each property; one MUTANT_... for each rule that can be taken away; LOOK_FOR_SPREAD asks whether a list ever comes from a peer.
 */
#define HOSTS 3
#define NEWEST 2
#define FORGED 3

#ifndef ONLY
#define ONLY 15
#endif

#define NAMES(list, host) ((list) == 1 && (host) == 2)

byte issued;         /* the authority's newest list */
byte has[HOSTS];     /* by version; 0 is none */
byte had[HOSTS];     /* the newest that a host ever had: for the property alone */
/* One session at a time: two hosts, what each said in its hello, and who has brought its list. */
bool open;
byte one, other, one_said, other_said;
bool spread, went_back, forged, revoked_accepted, behind_accepted;

/* A host reads a list: signed and newer than its own, or not taken. */
inline receive(host, list) {
  if
#if defined(MUTANT_UNSIGNED)
  :: list > has[host] -> has[host] = list
#elif defined(MUTANT_ROLLBACK)
  :: list != FORGED -> has[host] = list
#else
  :: list != FORGED && list > has[host] -> has[host] = list
#endif
  :: else
  fi;
  if
  :: has[host] > had[host] -> had[host] = has[host]
  :: else
  fi
}

/* SPEC 6.5, `revocation`: our list does not name the AK, and is not older than the one that the peer announced. */
#ifdef MUTANT_NO_CHECK
#define PASSES(host, peer, said) 1
#elif defined(MUTANT_ANNOUNCED_UNCHECKED)
#define PASSES(host, peer, said) (!NAMES(has[host], peer))
#else
#define PASSES(host, peer, said) (!NAMES(has[host], peer) && has[host] >= said)
#endif

inline appraise(host, peer, said) {
  if
  :: PASSES(host, peer, said) ->
    /* What either of the two knew when they met. */
    revoked_accepted = (ONLY & 1) && (NAMES(has[host], peer) || (said > has[host] && NAMES(said, peer)));
    assert(!revoked_accepted);
    behind_accepted = (ONLY & 2) && has[host] < said;
    assert(!behind_accepted)
  :: else
  fi
}

active proctype world() {
  byte host, list;
  do
  :: atomic {
    if
    :: issued < NEWEST -> issued++
    /* An operator, or the network: any list that was issued, or that never was, to any host, at any time. */
    :: true ->
      select(host : 0 .. 2);
      select(list : 0 .. 3);
      if
      :: list <= issued || list == FORGED -> receive(host, list)
      :: else
      fi
    /* Two hosts meet (SPEC 6.1). Honest ones tell which list they have. */
    :: !open ->
      open = 1;
      if
      :: one = 0; other = 1
      :: one = 0; other = 2
      :: one = 1; other = 2
      fi;
      one_said = has[one];
      other_said = has[other];
      if
      :: other == 2 -> select(other_said : 0 .. 2)
      :: skip
      fi
    /* Who has read a lower number sends its own list (SPEC 1.3); host 2 need not. */
    :: open && other_said < one_said -> list = has[one]; receive(other, list)
    :: open && other != 2 && one_said < other_said ->
      list = has[other];
      receive(one, list);
#ifdef LOOK_FOR_SPREAD
      spread = has[one] == list && list > one_said;
      assert(!spread)
#endif
    :: open -> appraise(one, other, other_said)
    :: open && other != 2 -> appraise(other, one, one_said)
    :: open -> open = 0; one_said = 0; other_said = 0
    fi;
    host = 0;
    list = 0;
    went_back = (ONLY & 4) && (has[0] < had[0] || has[1] < had[1] || has[2] < had[2]);
    assert(!went_back);
    forged = (ONLY & 8) && (has[0] == FORGED || has[1] == FORGED);
    assert(!forged)
  }
  od
}
